// kdrun config: the resolved recipe, and where each value came from.
#include <fmt/format.h>

#include "cli/command.h"

namespace kd::cli {
namespace {

/// Whether `key` asks for `setting`, or for a table that holds it. `train.x` asks for what every stage made of it.
bool asks_for(const std::string& key, const std::string& setting) {
  if (setting == key || setting.starts_with(key + ".")) return true;
  if (!key.starts_with("train.") || !setting.starts_with("stage.")) return false;
  const std::size_t after_name = setting.find('.', std::string_view("stage.").size());
  return after_name != std::string::npos &&
         asks_for("stage" + key.substr(std::string_view("train").size()), "stage" + setting.substr(after_name));
}

}  // namespace

void add_config(CLI::App& app) {
  struct Arguments {
    RecipeArguments recipe;
    bool diff = false;
    std::string key;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("config", "show the resolved recipe");
  given->recipe.add_to(*command);
  command->add_flag("--diff", given->diff, "only what differs from the defaults, with its place");
  command->add_option("--explain", given->key,
                      "a setting such as stage.student.epochs: its value and where it came from");
  command->callback([given] {
    const ExperimentPlan plan = given->recipe.read();
    if (!given->diff && given->key.empty()) {
      fmt::print("{}", write_recipe(plan.resolved));
      return;
    }
    bool found = false;
    std::vector<std::string> keys;
    for (const SettingOrigin& setting : list_settings(plan.resolved)) {
      keys.push_back(setting.key);
      const bool is_default = setting.location.source && *setting.location.source == "default";
      const bool wanted = given->key.empty() ? !is_default : asks_for(given->key, setting.key);
      if (!wanted) continue;
      found = true;
      fmt::print("{} = {}   # {}\n", setting.key, setting.value.to_toml(), setting.location.to_string());
    }
    if (!found && !given->key.empty()) {
      const std::string nearest = nearest_name(given->key, keys);
      throw RecipeError({}, fmt::format("there is no setting '{}' in this recipe", given->key),
                        nearest.empty() ? "kdrun config shows them all" : "did you mean '" + nearest + "'?");
    }
  });
}

}  // namespace kd::cli
