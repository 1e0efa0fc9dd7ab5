// command.h
#include "cli/command.h"

#include <fmt/format.h>

#include "cli/output.h"
#include "kd/plugin.h"
#include "plugin/registry.h"

namespace kd::cli {

void RecipeArguments::add_to(CLI::App& command) {
  command.add_option("recipe", recipe, "TOML file")->required();
  command.add_option("overrides", options.overrides,
                     "settings such as train.epochs=5 or stage.student.scheme.losses.1.temperature=8");
  command.add_option("--profile", options.profile,
                     "lays [profile.NAME] of the recipe on it; several, as in at,small, one after the other");
  command.add_option("--device", device, "auto, cpu, cuda or cuda:N");
  command.add_option("--seed", seed, "instead of the recipe's");
  command.add_option("--data-root", data_root, "where the data sets are; else KD_DATA, else ~/.cache/kdrun/data");
  command.add_option("--plugin-dir", plugin_folders, "more folders with plugins")->allow_extra_args(false);
}

std::filesystem::path own_program() { return std::filesystem::read_symlink("/proc/self/exe"); }

CLI::Validator whole_number(std::int64_t least) {
  return CLI::Validator(
      [least](const std::string& text) {
        const bool digits =
            !text.empty() && text.size() <= 12 && text.find_first_not_of("0123456789") == std::string::npos;
        return digits && std::stoll(text) >= least ? std::string()
                                                   : fmt::format("'{}' is no whole number of at least {}", text, least);
      },
      "N");
}

ExperimentPlan RecipeArguments::read() const {
  load_plugins_with_warnings(plugin_folders);
  RecipeOptions all = options;
  if (!device.empty()) all.overrides.push_back(fmt::format("device=\"{}\"", device));
  if (!seed.empty()) all.overrides.push_back("seed=" + seed);
  return read_recipe(recipe, all, registry());
}

void load_plugins_with_warnings(const std::vector<std::string>& folders) {
  for (const std::string& line : load_plugins(folders)) write_error(fmt::format("warning: {}\n", line));
}

}  // namespace kd::cli
