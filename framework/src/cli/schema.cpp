// kdrun schema: recipes as a JSON Schema, for editors.
#include <fmt/format.h>

#include "cli/command.h"
#include "plugin/registry.h"
#include "recipe/json_schema.h"

namespace kd::cli {

void add_schema(CLI::App& app) {
  auto folders = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand("schema", "print a JSON Schema of recipes, for editors of TOML");
  command->add_option("--plugin-dir", *folders, "more folders with plugins")->allow_extra_args(false);
  command->callback([folders] {
    load_plugins_with_warnings(*folders);
    fmt::print("{}", recipe_json_schema(registry()));
  });
}

}  // namespace kd::cli
