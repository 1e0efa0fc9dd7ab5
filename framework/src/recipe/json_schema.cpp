// json_schema.h: every declared field becomes a property, every component a definition that its `type` chooses.
//
// A table is whole or a part. What stands in a list is whole: it needs its `type` and its required parameters.
// Elsewhere it may be laid on another table, by `extends`, a profile or a stage, and may say as little as it likes.
#include "recipe/json_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "recipe/settings.h"

namespace kd {
namespace {

using Json = nlohmann::ordered_json;

enum class Extent { kWhole, kPart };

Json to_json(const Value& value) {
  if (value.is_bool()) return value.as_bool();
  if (value.is_int()) return value.as_int();
  if (value.is_number()) return value.as_number();
  if (value.is_string()) return value.as_string();
  Json json = value.is_list() ? Json::array() : Json::object();
  if (value.is_list()) {
    for (const Value& item : value.as_list()) json.push_back(to_json(item));
  } else if (value.is_table()) {
    for (const Member& member : value.as_table()) json[member.key] = to_json(member.value);
  }
  return json;
}

Json number_schema(const FieldInfo& field, const char* type) {
  Json schema{{"type", type}};
  if (field.low) schema[field.low->inclusive ? "minimum" : "exclusiveMinimum"] = field.low->value;
  if (field.high) schema[field.high->inclusive ? "maximum" : "exclusiveMaximum"] = field.high->value;
  return schema;
}

Json reference(const std::string& definition) { return {{"$ref", "#/definitions/" + definition}}; }

/// What several components say of a parameter of one name.
struct SharedProperty {
  std::vector<Json> schemas;                                            ///< without help and default; each once
  std::vector<std::pair<std::string, std::vector<std::string>>> helps;  ///< with the components that have it

  void add(const std::string& component, const Json& property) {
    Json schema = property;
    schema.erase("description");
    schema.erase("default");
    if (std::find(schemas.begin(), schemas.end(), schema) == schemas.end()) schemas.push_back(schema);
    const std::string help = property.value("description", "");
    const auto known = std::find_if(helps.begin(), helps.end(), [&](const auto& one) { return one.first == help; });
    if (known == helps.end()) {
      helps.push_back({help, {component}});
    } else {
      known->second.push_back(component);
    }
  }

  Json constraint() const { return schemas.size() == 1 ? schemas.front() : Json{{"anyOf", schemas}}; }
  std::string help() const {
    std::string text;
    for (const auto& [help, components] : helps)
      text += fmt::format("{}{}: {}", text.empty() ? "" : "\n\n", fmt::join(components, ", "), help);
    return text;
  }
};

class Writer {
 public:
  explicit Writer(const Registry& registry) : registry_(registry) {}

  Json write() {
    for (const RecipeSection& section : recipe_sections()) sections_[section.name] = section.fields;
    define_stage("stage", Extent::kWhole);
    define_stage("stage_part", Extent::kPart);
    Json profile = top_table();
    profile["description"] = "laid on the recipe by --profile";
    definitions_["profile"] = profile;
    Json schema{{"$schema", "http://json-schema.org/draft-07/schema#"},
                {"title", "kdrun recipe"},
                {"description", "made by kdrun schema, of kdrun " KD_VERSION " and the plugins that it found"}};
    schema.update(top_table());
    Json& properties = schema["properties"];
    properties["extends"] = {{"type", {"string", "array"}},
                             {"items", {{"type", "string"}}},
                             {"description", "recipes that this one is laid on, relative to this file"}};
    properties["profile"] = {{"type", "object"}, {"additionalProperties", reference("profile")}};
    // What a recipe lacks, one that it extends may have.
    schema["if"] = {{"not", {{"required", {"extends"}}}}};
    schema["then"] = {{"required", {"data", "stage"}}, {"properties", {{"data", {{"required", {"type"}}}}}}};
    schema["definitions"] = definitions_;
    return schema;
  }

 private:
  /// The tables of a recipe's top level, as a profile may have them too.
  Json top_table() {
    Json table = object(sections_.at("recipe"), Extent::kPart);
    Json& properties = table["properties"];
    properties["sweep"] = sweep_table();
    properties["device"]["pattern"] = "^(auto|cpu|cuda(:[0-9]{1,2})?)$";  // as is_device_name() has it
    properties["train"] = object(sections_.at("train"), Extent::kPart);
    properties["train"]["description"] = "settings of every stage; a stage may override any of them";
    properties["stage"] = {{"type", {"array", "object"}},
                           {"items", reference("stage")},
                           {"minItems", 1},
                           {"additionalProperties", reference("stage_part")},
                           {"description", "[[stage]] for each, in order; stage.NAME changes one of that name"}};
    return table;
  }

  void define_stage(const std::string& name, Extent extent) {
    Json stage = object(sections_.at("stage"), extent);
    Json& properties = stage["properties"];
    properties["name"]["pattern"] = "^[A-Za-z0-9_-]+$";
    for (const FieldInfo& field : sections_.at("train")) properties[field.name] = property(field, Extent::kPart);
    for (const FieldInfo& field : sections_.at("recipe")) {
      if (field.name == "data") properties["data"] = property(field, Extent::kPart);
    }
    Json teacher = object(sections_.at("teachers"), Extent::kWhole);
    restrict_checkpoint(teacher);
    properties["teachers"] = {{"type", "array"}, {"items", teacher}, {"description", "frozen networks to learn from"}};
    if (properties.contains("init")) restrict_checkpoint(properties["init"]);
    definitions_[name] = stage;
  }

  static void restrict_checkpoint(Json& source) { source["properties"]["checkpoint"]["enum"] = {"best", "last"}; }

  static Json sweep_table() {
    const Json settings{{"type", "object"}};
    return {{"type", "object"},
            {"additionalProperties", false},
            {"description", "what kdrun sweep varies"},
            {"properties",
             {{"grid", settings},
              {"zip", settings},
              {"list", {{"type", "array"}, {"items", settings}, {"minItems", 1}}},
              {"seeds", {{"type", "array"}, {"items", {{"type", "integer"}, {"minimum", 0}}}, {"minItems", 1}}}}}};
  }

  Json object(const std::vector<FieldInfo>& fields, Extent extent) {
    Json properties = Json::object(), required = Json::array();
    for (const FieldInfo& field : fields) {
      properties[field.name] = property(field, extent);
      if (field.required && extent == Extent::kWhole) required.push_back(field.name);
    }
    Json schema{{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
    if (!required.empty()) schema["required"] = required;
    return schema;
  }

  Json property(const FieldInfo& field, Extent extent) {
    Json schema = constraint(field, extent);
    // Beside a reference draft-07 hears nothing.
    if (schema.contains("$ref")) schema = {{"allOf", {schema}}};
    schema["description"] = field.help;
    if (!field.default_value.is_null()) schema["default"] = to_json(field.default_value);
    return schema;
  }

  Json constraint(const FieldInfo& field, Extent extent) {
    FieldInfo item = field;
    switch (field.type) {
      case FieldType::kBool:
        return {{"type", "boolean"}};
      case FieldType::kInt:
        return number_schema(field, "integer");
      case FieldType::kNumber:
        return number_schema(field, "number");
      case FieldType::kString:
        return {{"type", "string"}};
      case FieldType::kChoice:
        return {{"enum", field.choices}};
      case FieldType::kIntList:
        item.type = FieldType::kInt;
        return list_of(item, field);
      case FieldType::kNumberList:
        item.type = FieldType::kNumber;
        return list_of(item, field);
      case FieldType::kStringList:
        item.type = FieldType::kString;
        return list_of(item, field);
      case FieldType::kComponentList:
        item.type = FieldType::kComponent;
        return list_of(item, field);
      case FieldType::kComponent:
        return reference(component(field.component_kind, field.extras, extent));
      case FieldType::kScheduled: {
        Json schema = number_schema(field, "number");
        schema["type"] = {"number", "object"};
        schema["if"] = {{"type", "object"}};
        schema["then"] = reference(component(field.component_kind, {}, extent));
        return schema;
      }
      case FieldType::kTable:
        return object(field.extras, extent);
      case FieldType::kNumberTable:
        return {{"type", "object"}, {"additionalProperties", number_schema(field, "number")}};
    }
    return Json::object();
  }

  /// A list, or a table that changes some items of one that is there: { kd = { temperature = 8 } }, { 1 = { … } }.
  Json list_of(const FieldInfo& item, const FieldInfo& field) {
    Json schema{{"type", "array"}, {"items", constraint(item, Extent::kWhole)}};
    if (field.type != FieldType::kComponentList) return schema;
    schema["type"] = {"array", "object"};
    schema["additionalProperties"] = constraint(item, Extent::kPart);
    return schema;
  }

  /// The name of the definition of a component of `kind` with `extras` beside its parameters.
  std::string component(const std::string& kind, const std::vector<FieldInfo>& extras, Extent extent) {
    std::string name = kind;
    for (const FieldInfo& extra : extras) name += "+" + extra.name;
    if (extent == Extent::kPart) name += "_part";
    if (definitions_.contains(name)) return name;
    definitions_[name] = nullptr;  // a component may hold others of its kind
    std::map<std::string, SharedProperty> shared;
    std::vector<std::string> order;
    Json choices = Json::array();
    for (const RegisteredComponent* one : registry_.components(kind)) {
      const Json own = define_component(*one, extras, extent);
      for (const auto& [key, property] : own.at("properties").items()) {
        if (key == "type") continue;
        if (!shared.contains(key)) order.push_back(key);
        shared[key].add(one->name, property);
      }
      const std::string own_name = name + ":" + one->name;
      definitions_[own_name] = own;
      choices.push_back({{"if", {{"properties", {{"type", {{"const", one->name}}}}}, {"required", {"type"}}}},
                         {"then", reference(own_name)}});
    }
    // What is known of every key, for editors that look no deeper; the choice by type is what checks.
    Json properties{
        {"type", {{"enum", registry_.names(kind)}, {"description", "kdrun describe " + kind + " NAME tells more"}}}};
    Json without_type = Json::object();
    for (const std::string& key : order) {
      properties[key] = {{"description", shared.at(key).help()}};
      without_type[key] = shared.at(key).constraint();
    }
    // Editors that complete keys pass over a table with allOf, and do not over one with dependencies.
    Json schema{{"type", "object"},
                {"description", fmt::format("kdrun list {} shows what there is", kind)},
                {"properties", properties},
                {"dependencies", {{"type", {{"allOf", choices}}}}}};
    if (extent == Extent::kPart) {
      schema["if"] = {{"not", {{"required", {"type"}}}}};
      schema["then"] = {{"properties", without_type}, {"additionalProperties", false}};
    }
    if (extent == Extent::kWhole) schema["required"] = {"type"};
    definitions_[name] = schema;
    return name;
  }

  Json define_component(const RegisteredComponent& one, const std::vector<FieldInfo>& extras, Extent extent) {
    std::vector<FieldInfo> fields = one.fields;
    for (FieldInfo extra : extras) {
      const Published* published = registry_.published(one.kind, one.name);
      if (one.kind == "loss" && extra.name == "weight" && published != nullptr && *published->weight != '\0')
        extra.default_value = Value::parse(published->weight);
      fields.push_back(std::move(extra));
    }
    Json schema = object(fields, extent);
    schema["properties"]["type"] = {{"const", one.name}};
    schema["description"] = one.help;
    return schema;
  }

  const Registry& registry_;
  std::map<std::string, std::vector<FieldInfo>> sections_;
  Json definitions_ = Json::object();
};

}  // namespace

std::string recipe_json_schema(const Registry& registry) { return Writer(registry).write().dump(1) + '\n'; }

}  // namespace kd
