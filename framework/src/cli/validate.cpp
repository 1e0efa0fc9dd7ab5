// kdrun validate: every problem of a recipe, without training.
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/console.h"
#include "data/training_data.h"

namespace kd::cli {

void add_validate(CLI::App& app) {
  auto given = std::make_shared<RecipeArguments>();
  CLI::App* command = app.add_subcommand("validate", "find every problem of a recipe without training");
  given->add_to(*command);
  command->callback([given] {
    const ExperimentPlan plan = given->read();
    Console console;
    check_experiment(plan, {.data_root = data_root(given->data_root), .runs_folder = "runs", .arguments = {}}, console);
    fmt::print("{}: ok, {} stage(s)\n", plan.recipe_file, plan.stages.size());
  });
}

}  // namespace kd::cli
