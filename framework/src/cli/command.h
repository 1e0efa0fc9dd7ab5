// What the commands of kdrun share: options, loading of plugins, and errors of arguments.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/experiment.h"
#include "recipe/plan.h"

namespace kd::cli {

/// Arguments of every command that reads a recipe.
struct RecipeArguments {
  std::string recipe;
  RecipeOptions options;
  std::string device;  ///< overrides the recipe's where given
  std::string seed;
  std::string data_root;
  std::vector<std::string> plugin_folders;

  void add_to(CLI::App& command);
  /// Loads the plugins, warns of refused ones, and reads the recipe.
  ExperimentPlan read() const;
};

/// Loads the plugins; libraries that were refused are named on stderr.
void load_plugins_with_warnings(const std::vector<std::string>& folders);

/// The folder of the recipes that come with kdrun. Throws kd::Error where there is none.
std::filesystem::path recipe_folder();

/// The file that this program is.
std::filesystem::path own_program();

/// Refuses what is no whole number from `least` to a million million.
CLI::Validator whole_number(std::int64_t least);

void add_run(CLI::App& app, const std::vector<std::string>& arguments);
void add_validate(CLI::App& app);
void add_config(CLI::App& app);
void add_list(CLI::App& app);
void add_describe(CLI::App& app);
void add_eval(CLI::App& app);
void add_compare(CLI::App& app);
void add_sweep(CLI::App& app);
void add_report(CLI::App& app);
void add_runs(CLI::App& app);
void add_augment(CLI::App& app);
void add_import(CLI::App& app);
void add_export(CLI::App& app);
void add_data(CLI::App& app);
void add_copy(CLI::App& app);
void add_schema(CLI::App& app);
void add_completion(CLI::App& app);
void add_man(CLI::App& app);
void add_doctor(CLI::App& app);
void add_new(CLI::App& app);

}  // namespace kd::cli
