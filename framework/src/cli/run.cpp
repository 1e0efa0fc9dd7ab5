// kdrun run: trains what a recipe describes.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/event_stream.h"
#include "data/training_data.h"
#include "engine/experiment.h"
#include "engine/metric.h"
#include "engine/stop.h"
#include "engine/summary.h"
#include "recipe/sweep.h"

namespace kd::cli {
namespace {

struct RunArguments {
  RecipeArguments recipe;
  std::string runs_folder = "runs";
  bool fresh = false, dry_run = false, deterministic = false, json = false, events = false;
  std::int64_t max_steps = 0, share = 1;
  std::string metric, expected;
};

void print_json(const RunResult& result) {
  nlohmann::ordered_json json{{"run", result.folder.string()}, {"stages", nlohmann::json::array()}};
  for (const StageResult& stage : result.stages) {
    for (const NetworkResult& network : stage.networks) {
      json["stages"].push_back({{"stage", stage.stage},
                                {"network", network.name},
                                {"parameters", network.parameters},
                                {"epochs", stage.epochs},
                                {"top1", network.test.top1},
                                {"top5", network.test.top5},
                                {"nll", network.test.nll},
                                {"ece", network.test.calibration.ece},
                                {"oe", network.test.calibration.oe},
                                {"seconds", stage.seconds},
                                {"reused", stage.reused}});
    }
  }
  fmt::print("{}\n", json.dump(2));
}

}  // namespace

void add_run(CLI::App& app, const std::vector<std::string>& arguments) {
  auto given = std::make_shared<RunArguments>();
  CLI::App* command = app.add_subcommand("run", "train what a recipe describes");
  given->recipe.add_to(*command);
  command->footer(
      "Examples:\n"
      "  kdrun run R.toml train.epochs=5 stage.student.scheme.losses.1.temperature=8\n"
      "  kdrun run R.toml --profile smoke --device cpu --run-dir /tmp/runs\n"
      "A run that was stopped goes on when the same command is given again.");
  command->add_option("--run-dir", given->runs_folder, "folder of all runs")->capture_default_str();
  command->add_flag("--fresh", given->fresh, "trains stages anew that are already there");
  command->add_flag("--dry-run", given->dry_run, "makes every part and stops before the first step");
  command->add_option("--max-steps", given->max_steps, "ends each stage after this many steps")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--deterministic", given->deterministic, "only operations that give the same bits every time");
  command->add_flag("--json", given->json, "the results as JSON on stdout");
  command->add_flag("--events", given->events, "what happens as lines of JSON on stdout, for programs that watch")
      ->excludes("--json");
  command
      ->add_option("--metric", given->metric,
                   "prints one number as the last line: STAGE[/NETWORK]/SPLIT/NAME, as student/validation/top1")
      ->excludes("--json")
      ->excludes("--events")
      ->check([](const std::string& text) { return text.empty() ? std::string("it names no number") : std::string(); });
  command->add_option("--expect", given->expected, "digest of the recipe that a sweep has read")->group("");
  command->add_option("--share", given->share, "one of so many runs side by side: takes that part of the memory")
      ->check(whole_number(1));
  command->callback([given, arguments] {
    const ExperimentPlan plan = given->recipe.read();
    if (!given->expected.empty() && given->expected != resolved_digest(plan))
      throw RecipeError({}, "the recipe is no longer what the sweep has read", "the sweep's command reads it again");
    const RunOptions options{.data_root = data_root(given->recipe.data_root),
                             .runs_folder = given->runs_folder,
                             .fresh = given->fresh,
                             .deterministic = given->deterministic,
                             .max_steps = given->max_steps,
                             .memory_share = 1.0 / static_cast<double>(given->share),
                             .arguments = arguments};
    const auto metric =
        given->metric.empty() ? std::nullopt : std::make_optional(find_metric(given->metric, plan, options.data_root));
    Console console;
    if (given->dry_run) {
      check_experiment(plan, options, console);
      if (given->json) {
        fmt::print("{}\n",
                   nlohmann::ordered_json{{"recipe", plan.recipe_file}, {"stages", plan.stages.size()}}.dump(2));
      } else {
        fmt::print("{}: ready to train {} stage(s)\n", plan.recipe_file, plan.stages.size());
      }
      return;
    }
    watch_stop_signals();
    EventStream events(console);
    const RunResult result = run_experiment(plan, options, given->events ? static_cast<Progress&>(events) : console);
    if (given->events) return;
    if (given->json) return print_json(result);
    const std::string& profile = given->recipe.options.profile;
    const std::string title = plan.title.empty() ? plan.recipe_name : plan.title;
    fmt::print("\n{}{}\n{}run folder: {}\n", title, profile.empty() ? "" : fmt::format(" (profile '{}')", profile),
               result_text(result.stages, plan), result.folder.string());
    if (metric) fmt::print("{}\n", read_metric(*metric, result));
  });
}

}  // namespace kd::cli
