// kdrun run: trains what a recipe describes.
#include <ATen/Context.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/event_stream.h"
#include "data/training_data.h"
#include "engine/c10d_group.h"
#include "engine/cuda_driver.h"
#include "engine/device.h"
#include "engine/experiment.h"
#include "engine/metric.h"
#include "engine/stage_store.h"
#include "engine/stop.h"
#include "engine/summary.h"
#include "plugin/loader.h"
#include "ranks/launch.h"
#include "recipe/stage_order.h"
#include "recipe/sweep.h"
#include "sweep/stage_runner.h"

namespace kd::cli {
namespace {

constexpr std::int64_t kPatience = 120, kTimeout = 600;  // seconds

struct RunArguments {
  RecipeArguments recipe;
  std::string runs_folder = "runs";
  bool fresh = false, dry_run = false, deterministic = false, json = false, events = false;
  std::int64_t max_steps = 0, share = 1;
  std::string metric, expected, rank_logs;
  std::int64_t patience = kPatience, timeout = kTimeout, jobs = 1;
  std::vector<std::string> stages;
};

/// The arguments of this command without those that are of one program alone.
std::vector<std::string> arguments_of_stages(const std::vector<std::string>& arguments) {
  constexpr std::array kWithValue = {"--jobs", "--metric", "--share"};
  constexpr std::array kAlone = {"--json", "--events"};
  const auto is_one_of = [](const auto& options, const std::string& word) {
    return std::find(options.begin(), options.end(), word) != options.end();
  };
  std::vector<std::string> kept;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string name = arguments[i].substr(0, arguments[i].find('='));
    if (is_one_of(kWithValue, name)) {
      if (name == arguments[i]) ++i;
    } else if (!is_one_of(kAlone, arguments[i])) {
      kept.push_back(arguments[i]);
    }
  }
  return kept;
}

/// Trains the stages by programs of their own, so that the run finds all of them.
void train_side_by_side(const ExperimentPlan& plan, const RunArguments& given,
                        const std::vector<std::string>& arguments, Progress& progress) {
  StageRunOptions options{.command = {own_program().string()},
                          .jobs = static_cast<std::size_t>(given.jobs),
                          .devices = {},
                          .logs = std::filesystem::path(given.runs_folder) / ".jobs" / plan.recipe_name,
                          .say = [&](const std::string& line) { progress.say(line); },
                          .stop = stop_requested};
  for (const std::string& word : arguments_of_stages(arguments)) options.command.push_back(word);
  for (const std::string& word : {std::string("--events"), std::string("--share"), std::to_string(given.jobs)})
    options.command.push_back(word);
  const std::size_t gpus = at::hasCUDA() ? at::getNumGPUs() : 0;
  for (std::size_t i = 0; i < gpus && gpus > 1 && (plan.device == "auto" || plan.device == "cuda"); ++i)
    options.devices.push_back(fmt::format("cuda:{}", i));
  run_stages_side_by_side(plan, options);
}

/// The GPU of this process among those of its host that can be seen, or the CPU.
std::string device_of(const Launch& launch, const std::string& wanted) {
  const auto gpus = static_cast<std::int64_t>(at::hasCUDA() ? at::getNumGPUs() : 0);
  if (wanted == "cpu" || gpus == 0) return wanted;
  if (wanted != "auto" && wanted != "cuda") {
    throw RecipeError({}, fmt::format("device '{}' for {} processes, which need a GPU each", wanted, launch.size),
                      "device = \"cuda\" gives each process that of its local rank");
  }
  // A launcher may show each process its own alone.
  if (gpus == 1) return "cuda:0";
  if (launch.local_rank >= gpus) {
    throw RecipeError(
        {}, fmt::format("rank {} is number {} of its host, which has {} GPUs", launch.rank, launch.local_rank, gpus),
        "start as many processes on a host as it has GPUs, or take --device cpu");
  }
  return fmt::format("cuda:{}", launch.local_rank);
}

/// Joins the processes that were started together; null for one alone.
std::unique_ptr<JoinedRanks> join(const Launch& launch, const ExperimentPlan& plan, const RunArguments& given) {
  if (launch.size == 1) return nullptr;
  const at::Device device = choose_device(plan.device);
  const SharedFacts facts{{"the recipe", resolved_digest(plan)},
                          {"the build", own_stamp()},
                          {"the engine", numerics_digest()},
                          {"the run folder", given.runs_folder},
                          {"--stages", fmt::format("'{}'", fmt::join(given.stages, ","))},
                          {"--max-steps", std::to_string(given.max_steps)},
                          {"--fresh", given.fresh ? "given" : "not given"},
                          {"--deterministic", given.deterministic ? "given" : "not given"},
                          {"the device", device.is_cuda() ? "a GPU" : "the CPU"}};
  const std::string gpu = device.is_cuda() ? gpu_uuid(device.index()).value_or("") : "";
  use_own_stream(device);  // NCCL takes the current GPU
  return std::make_unique<JoinedRanks>(launch, device, facts, gpu, std::chrono::seconds(given.patience),
                                       std::chrono::seconds(given.timeout));
}

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
  command
      ->add_option("--patience", given->patience,
                   "seconds to wait for the other processes where torchrun, srun or mpirun started several")
      ->capture_default_str()
      ->check(whole_number(1));
  command->add_option("--timeout", given->timeout, "seconds after which one that does not answer counts as lost")
      ->capture_default_str()
      ->check(whole_number(1));
  command
      ->add_option("--stages", given->stages,
                   "trains these alone and what they need, and keeps them for runs to come; leaves no run")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      ->add_option(
          "--jobs", given->jobs,
          "stages that do not need each other are trained side by side, so many at a time, each with its share "
          "of the processors and a GPU of its own where there are several")
      ->capture_default_str()
      ->check(whole_number(1))
      ->excludes("--fresh")
      ->excludes("--stages");
  command->add_option("--rank-logs", given->rank_logs, "folder for a log of each process but the first");
  command->callback([given, arguments] {
    const Launch launch = read_launch();
    ExperimentPlan plan = given->recipe.read();
    if (launch.size > 1) plan.device = device_of(launch, plan.device);
    if (!given->expected.empty() && given->expected != resolved_digest(plan))
      throw RecipeError({}, "the recipe is no longer what it was when this was begun", "give the first command again");
    if (!given->stages.empty()) plan = only_stages(std::move(plan), given->stages);
    if (given->jobs > 1 && launch.size > 1)
      throw RecipeError({}, fmt::format("--jobs {} in one of {} processes", given->jobs, launch.size));
    RunOptions options{.data_root = data_root(given->recipe.data_root),
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
    const std::unique_ptr<JoinedRanks> joined = join(launch, plan, *given);
    if (joined) {
      options.group = &joined->group();
      options.processes_here = launch.local_size;
      if (!given->rank_logs.empty() && launch.rank > 0) {
        std::filesystem::create_directories(given->rank_logs);
        options.rank_log = std::filesystem::path(given->rank_logs) / fmt::format("rank_{}.log", launch.rank);
      }
    }
    EventStream events(console);
    RunResult result;
    try {
      Progress& progress = given->events ? static_cast<Progress&>(events) : console;
      if (given->jobs > 1) {
        check_experiment(plan, options, progress);
        train_side_by_side(plan, *given, arguments, progress);
      }
      result =
          given->stages.empty() ? run_experiment(plan, options, progress) : train_and_keep(plan, options, progress);
    } catch (const std::exception& error) {
      const auto* own = dynamic_cast<const Error*>(&error);
      if (joined) joined->leave(message_of(error), own != nullptr ? own->code() : ExitCode::kFailed);
      throw;
    }
    if (given->events || launch.rank > 0) return;
    if (given->json) return print_json(result);
    const std::string& profile = given->recipe.options.profile;
    const std::string title = plan.title.empty() ? plan.recipe_name : plan.title;
    const std::string where =
        given->stages.empty() ? fmt::format("run folder: {}\n", result.folder.string()) : std::string();
    fmt::print("\n{}{}\n{}{}", title, profile.empty() ? "" : fmt::format(" (profile '{}')", profile),
               result_text(result.stages, plan), where);
    if (metric) fmt::print("{}\n", read_metric(*metric, result));
  });
}

}  // namespace kd::cli
