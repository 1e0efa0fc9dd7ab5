// kdrun describe: the parameters of a component and the keys of a recipe's tables, as they are declared.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "engine/stored.h"
#include "kd/plugin.h"
#include "plugin/registry.h"
#include "recipe/settings.h"

namespace kd::cli {
namespace {

std::string default_text(const FieldInfo& field) {
  if (field.required) return "required";
  return field.default_value.is_null() ? "none" : field.default_value.to_toml();
}

std::string field_type(const FieldInfo& field) {
  std::string text = type_name(field.type);
  if (!field.component_kind.empty() && field.type != FieldType::kScheduled)
    text = (field.type == FieldType::kComponent ? "" : "list of ") + field.component_kind;
  return text;
}

nlohmann::ordered_json to_json(const FieldInfo& field) {
  nlohmann::ordered_json json{{"name", field.name},          {"type", field_type(field)},
                              {"required", field.required},  {"default", default_text(field)},
                              {"range", field.range_text()}, {"help", field.help}};
  for (const FieldInfo& extra : field.extras) json["beside"].push_back(to_json(extra));
  return json;
}

void print_fields(const std::vector<FieldInfo>& fields) {
  for (const FieldInfo& field : fields) {
    fmt::print("  {:<20} {:<20} {}{}\n      {}\n", field.name, field_type(field),
               field.required ? "required" : "default " + default_text(field),
               field.range_text().empty() ? "" : ", " + field.range_text(), field.help);
    for (const FieldInfo& extra : field.extras) {
      fmt::print("      beside each: {} ({}, default {}): {}\n", extra.name, field_type(extra), default_text(extra),
                 extra.help);
    }
  }
}

/// "paper; default weight 1000.0; resnet32x4 → resnet8x4 …": what a component says of where it comes from.
std::string origin_of(const RegisteredComponent& component) {
  const Published* published = component.entry->published;
  if (published == nullptr) return "";
  std::string text = published->paper;
  if (*published->weight != '\0') text += fmt::format("; weight {}, unless a recipe says another", published->weight);
  if (*published->result != '\0') text += fmt::format("; published: {}", published->result);
  return text;
}

void print_text(const RegisteredComponent& component) {
  fmt::print("{} '{}': {}\n  from {} ({})\n\n", component.kind, component.name, component.help,
             component.library.string(), component.source);
  if (const std::string origin = origin_of(component); !origin.empty()) fmt::print("  {}\n\n", origin);
  if (component.fields.empty()) fmt::print("  no parameters\n");
  print_fields(component.fields);
}

/// The features that a network gives to losses, with their shapes for images of CIFAR-100.
void print_taps(const RegisteredComponent& component) {
  std::vector<TapShape> taps;
  try {
    taps = describe_taps(fmt::format("{{ type = '{}' }}", component.name));
  } catch (const Error& error) {
    fmt::print("\n  no features can be shown: {}\n", error.what());  // such as a parameter without a default
    return;
  }
  fmt::print("\n  features, of N images 3×32×32 of 100 classes with the parameters' defaults:\n");
  for (const TapShape& tap : taps) fmt::print("    {:<16} {}\n", tap.name, fmt::join(tap.shape, "×"));
}

/// The line of the header comment of a component's source that shows its use, where the source is at hand, as it is in
/// kdrun's tree; else empty.
std::string usage_of(const RegisteredComponent& component) {
  std::string file = component.source.substr(0, component.source.rfind(':'));
  while (file.starts_with("../")) file.erase(0, 3);  // it counts from a build folder
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line) && line.starts_with("//");) {
    if (line.starts_with("//   ") && line.find(fmt::format("type = \"{}\"", component.name)) != std::string::npos)
      return line.substr(5);
  }
  return "";
}

/// A table ready to paste into a recipe.
void print_toml(const RegisteredComponent& component) {
  std::string text = fmt::format("type = \"{}\"", component.name);
  for (const FieldInfo& field : component.fields) {
    if (field.required) text += fmt::format(", {} = …", field.name);
    if (!field.required && !field.default_value.is_null())
      text += fmt::format(", {} = {}", field.name, field.default_value.to_toml());
  }
  fmt::print("{{ {} }}\n", text);
}

void print_markdown_fields(const std::vector<FieldInfo>& fields) {
  if (fields.empty()) return;
  fmt::print("\n| parameter | type | default | range | meaning |\n|---|---|---|---|---|\n");
  for (const FieldInfo& field : fields) {
    std::string range = field.range_text();
    for (std::size_t at = 0; (at = range.find('|', at)) != std::string::npos; at += 2) range.replace(at, 1, "\\|");
    fmt::print("| `{}` | {} | `{}` | {} | {} |\n", field.name, field_type(field), default_text(field), range,
               field.help);
  }
}

/// The reference of every table and component, as docs/components.md holds it.
void print_markdown() {
  fmt::print(
      "# Settings and components\n\nWritten by `kdrun describe --markdown` from the declarations; do not edit.\n");
  for (const RecipeSection& section : recipe_sections()) {
    fmt::print("\n## `{}`: {}\n", section.name, section.help);
    print_markdown_fields(section.fields);
  }
  for (const std::string& kind : component_kinds()) {
    for (const RegisteredComponent* component : registry().components(kind)) {
      fmt::print("\n## {} `{}`\n\n{}\n", kind, component->name, component->help);
      if (const std::string origin = origin_of(*component); !origin.empty()) fmt::print("\n{}.\n", origin);
      if (const std::string usage = usage_of(*component); !usage.empty()) fmt::print("\n```toml\n{}\n```\n", usage);
      print_markdown_fields(component->fields);
    }
  }
}

/// What `kdrun describe KIND` shows: the keys of a table of recipes, or the names of the components of a kind.
void describe_kind(const std::string& name, bool json) {
  const std::vector<RecipeSection> sections = recipe_sections();
  const auto section =
      std::find_if(sections.begin(), sections.end(), [&](const RecipeSection& one) { return one.name == name; });
  if (section != sections.end()) {
    if (json) {
      nlohmann::ordered_json text{{"table", name}, {"help", section->help}, {"keys", nlohmann::json::array()}};
      for (const FieldInfo& field : section->fields) text["keys"].push_back(to_json(field));
      return fmt::print("{}\n", text.dump(2));
    }
    fmt::print("{}: {}\n\n", section->name, section->help);
    return print_fields(section->fields);
  }
  throw RecipeError({}, fmt::format("which {}?", name),
                    fmt::format("kdrun describe {} {}", name, fmt::join(registry().names(name), " | ")));
}

}  // namespace

void add_describe(CLI::App& app) {
  struct Arguments {
    std::string kind, name;
    bool json = false, toml = false, markdown = false;
    std::vector<std::string> folders;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("describe", "show the parameters of a component, or the keys of a table of recipes");
  command->footer("Examples:\n  kdrun describe loss kd\n  kdrun describe model resnet --toml\n  kdrun describe train");
  std::vector<std::string> known = component_kinds();
  for (const RecipeSection& section : recipe_sections()) known.push_back(section.name);
  command->add_option("kind", given->kind, fmt::format("one of: {}", fmt::join(known, ", ")))
      ->option_text("KIND (required)");
  command->add_option("name", given->name, "of the component, as kdrun list shows it; tables have none")
      ->option_text("NAME");
  command->add_flag("--json", given->json, "as JSON");
  command->add_flag("--toml", given->toml, "as a table ready to paste");
  command->add_flag("--markdown", given->markdown, "every component, as Markdown");
  command->add_option("--plugin-dir", given->folders, "more folders with plugins")->allow_extra_args(false);
  command->callback([given, known] {
    load_plugins(given->folders);
    if (given->markdown) return print_markdown();
    if (given->kind.empty()) throw RecipeError("give a kind and a name, as in: kdrun describe loss kd");
    if (std::find(known.begin(), known.end(), given->kind) == known.end()) {
      throw RecipeError({}, fmt::format("there is no kind '{}'", given->kind), name_hint(given->kind, known, "kinds"));
    }
    if (given->name.empty()) return describe_kind(given->kind, given->json);
    const RegisteredComponent* component = registry().find(given->kind, given->name);
    if (component == nullptr) {
      throw RecipeError({}, fmt::format("there is no {} '{}'", given->kind, given->name),
                        name_hint(given->name, registry().names(given->kind)));
    }
    if (given->json) {
      nlohmann::ordered_json json{{"kind", component->kind},     {"name", component->name},
                                  {"help", component->help},     {"library", component->library.string()},
                                  {"source", component->source}, {"parameters", nlohmann::json::array()}};
      for (const FieldInfo& field : component->fields) json["parameters"].push_back(to_json(field));
      if (const Published* published = component->entry->published) {
        json["published"] = {{"paper", published->paper}, {"weight", published->weight}, {"result", published->result}};
      }
      fmt::print("{}\n", json.dump(2));
    } else if (given->toml) {
      print_toml(*component);
    } else {
      print_text(*component);
      if (given->kind == "model") print_taps(*component);
    }
  });
}

}  // namespace kd::cli
