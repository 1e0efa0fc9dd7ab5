// override_words.h: a recipe as a tree of declared fields with the values that it gives them.
#include "complete/override_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "kd/diagnostics.h"
#include "recipe/merge.h"
#include "recipe/settings.h"

namespace kd {
namespace {

/// What is declared under a step of a path, and what the recipe has there; null where it has nothing.
struct Node {
  FieldInfo field;
  Value value;
};

FieldInfo make_table(const std::string& name, const std::string& help, std::vector<FieldInfo> fields) {
  FieldInfo table;
  table.name = name;
  table.help = help;
  table.type = FieldType::kTable;
  table.extras = std::move(fields);
  return table;
}

Node child(const Node& node, const FieldInfo& field) {
  const Value* value = node.value.find(field.name);
  return {field, value != nullptr ? *value : field.default_value};
}

std::string type_of(const Value& value) {
  const Value* type = value.find("type");
  return type != nullptr && type->is_string() ? type->as_string() : "";
}

std::vector<Node> parameters(const Node& node, const Known& known) {
  FieldInfo type;
  type.name = "type";
  type.help = "which " + node.field.component_kind;
  type.component_kind = node.field.component_kind;
  type.type = FieldType::kChoice;
  for (const KnownComponent& component : known.components) {
    if (component.kind == node.field.component_kind) type.choices.push_back(component.name);
  }
  std::vector<Node> nodes{child(node, type)};
  if (const KnownComponent* component = known.find(node.field.component_kind, type_of(node.value))) {
    for (const FieldInfo& field : component->fields) nodes.push_back(child(node, field));
  }
  for (const FieldInfo& field : node.field.extras) nodes.push_back(child(node, field));
  return nodes;
}

/// The components of a list by their types, where one has a type for itself, and by their positions.
std::vector<Node> items(const Node& node) {
  std::vector<Node> nodes;
  if (!node.value.is_list()) return nodes;
  std::map<std::string, int> count;
  for (const Value& item : node.value.as_list()) ++count[type_of(item)];
  for (std::size_t i = 0; i < node.value.as_list().size(); ++i) {
    const Value& item = node.value.as_list()[i];
    FieldInfo field = node.field;
    field.type = FieldType::kComponent;
    field.help = fmt::format("{} '{}'", field.component_kind, type_of(item));
    if (count[type_of(item)] == 1) {
      field.name = type_of(item);
      nodes.push_back({field, item});
    }
    field.name = std::to_string(i);
    nodes.push_back({field, item});
  }
  return nodes;
}

/// What may stand behind the path of `node` and a dot.
std::vector<Node> steps(const Node& node, const Known& known) {
  switch (node.field.type) {
    case FieldType::kTable: {
      std::vector<Node> nodes;
      for (const FieldInfo& field : node.field.extras) nodes.push_back(child(node, field));
      return nodes;
    }
    case FieldType::kComponent:
      return parameters(node, known);
    case FieldType::kScheduled:
      return node.value.is_table() ? parameters(node, known) : std::vector<Node>{};
    case FieldType::kComponentList:
      return items(node);
    default:
      return {};
  }
}

/// The fields of a section of recipe_sections().
std::vector<FieldInfo> section(const std::string& name) {
  for (RecipeSection& one : recipe_sections()) {
    if (one.name == name) return one.fields;
  }
  return {};
}

/// A list of plain tables as a table of positions.
Value by_position(const Value& list) {
  Value table = Value(Value::Table{});
  for (std::size_t i = 0; i < list.as_list().size(); ++i) table.set(std::to_string(i), list.as_list()[i]);
  return table;
}

Node stage_node(const Value& recipe, const Value& stage) {
  std::vector<FieldInfo> fields = section("stage");
  for (const FieldInfo& field : section("train")) fields.push_back(field);
  for (const FieldInfo& field : section("recipe")) {
    if (field.name == "data") fields.push_back(field);
  }
  // As planning a stage does: its settings are laid on those of [train] and [data].
  Value value = Value(Value::Table{});
  Diagnostics ignored;
  if (const Value* train = recipe.find("train")) merge(value, *train, ignored);
  if (const Value* data = recipe.find("data")) value.set("data", *data);
  merge(value, stage, ignored);
  if (const Value* teachers = stage.find("teachers"); teachers != nullptr && teachers->is_list()) {
    std::vector<FieldInfo> positions;
    for (std::size_t i = 0; i < teachers->as_list().size(); ++i)
      positions.push_back(make_table(std::to_string(i), "a teacher", section("teachers")));
    fields.push_back(make_table("teachers", "frozen networks to learn from", positions));
    value.set("teachers", by_position(*teachers));
  }
  return {make_table(stage.find("name")->as_string(), "a stage", fields), value};
}

Node root_node(const Value& recipe) {
  Node root{make_table("", "", section("recipe")), recipe.is_table() ? recipe : Value(Value::Table{})};
  root.field.extras.push_back(make_table("train", "settings of every stage", section("train")));
  FieldInfo stages = make_table("stage", "the stages by their names", {});
  Value by_name = Value(Value::Table{});
  if (const Value* list = recipe.find("stage"); list != nullptr && list->is_list()) {
    for (const Value& stage : list->as_list()) {
      const Value* name = stage.find("name");
      if (name == nullptr || !name->is_string()) continue;
      Node node = stage_node(recipe, stage);
      by_name.set(node.field.name, std::move(node.value));
      stages.extras.push_back(std::move(node.field));
    }
  }
  root.field.extras.push_back(stages);
  root.value.set("stage", std::move(by_name));
  return root;
}

/// Values that can be told, as TOML has them; of components with what they are.
std::vector<Candidate> values_of(const FieldInfo& field, const Known& known) {
  if (field.type == FieldType::kBool) return {{"true", ""}, {"false", ""}};
  std::vector<Candidate> values;
  for (const std::string& choice : field.choices) {
    const KnownComponent* component = known.find(field.component_kind, choice);
    values.push_back({Value(choice).to_toml(), component == nullptr ? "" : component->help});
  }
  return values;
}

}  // namespace

std::vector<Candidate> complete_override(const std::string& typed, const Value& recipe, const Known& known) {
  const std::size_t equals = typed.find('=');
  const std::string path = typed.substr(0, equals);
  Node node = root_node(recipe);
  std::size_t begin = 0;
  const auto descend = [&](const std::string& step) {
    for (Node& next : steps(node, known)) {
      if (next.field.name != step) continue;
      node = std::move(next);
      return true;
    }
    return false;
  };
  for (std::size_t dot = path.find('.'); dot != std::string::npos; begin = dot + 1, dot = path.find('.', begin)) {
    if (!descend(path.substr(begin, dot - begin))) return {};
  }
  std::vector<Candidate> candidates;
  if (equals != std::string::npos) {
    if (!descend(path.substr(begin))) return {};
    for (const Candidate& value : values_of(node.field, known))
      candidates.push_back({fmt::format("{}={}", path, value.word), value.help});
  } else {
    for (const Node& next : steps(node, known)) {
      const char* end = steps(next, known).empty() ? "=" : ".";
      candidates.push_back({path.substr(0, begin) + next.field.name + end, next.field.help});
    }
  }
  std::erase_if(candidates, [&](const Candidate& one) { return !one.word.starts_with(typed); });
  return candidates;
}

}  // namespace kd
