// kdrun sweep: a recipe at every point of a grid and over seeds, several points side by side.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/sweep_screen.h"
#include "data/training_data.h"
#include "engine/device.h"
#include "engine/estimate.h"
#include "engine/stop.h"
#include "plugin/registry.h"
#include "report/table_views.h"
#include "sweep/child_process.h"
#include "sweep/sweep_folder.h"
#include "sweep/sweep_runner.h"

namespace kd::cli {
namespace {

struct SweepArguments {
  RecipeArguments recipe;
  SweepOptions sweep;
  std::string runs_folder = "runs", jobs = "auto";
  std::vector<std::string> devices;
  bool fresh = false, dry_run = false, emit_commands = false, deterministic = false;
  std::int64_t max_steps = 0;
};

/// As a shell takes it in one piece.
std::string in_quotes(const std::string& word) {
  const bool plain = !word.empty() && word.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%") ==
                                          std::string::npos;
  if (plain) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

/// The arguments of `kdrun run` that all points share.
std::vector<std::string> shared_arguments(const SweepArguments& given) {
  std::vector<std::string> words = {"run", given.recipe.recipe};
  const auto add = [&](const std::string& option, const std::string& value) {
    if (!value.empty()) words.insert(words.end(), {option, value});
  };
  add("--profile", given.recipe.options.profile);
  add("--run-dir", given.runs_folder);
  add("--device", given.recipe.device);
  add("--data-root", given.recipe.data_root);
  for (const std::string& folder : given.recipe.plugin_folders) add("--plugin-dir", folder);
  add("--max-steps", given.max_steps > 0 ? std::to_string(given.max_steps) : "");
  if (given.deterministic) words.emplace_back("--deterministic");
  if (given.fresh) words.emplace_back("--fresh");
  for (const std::string& text : given.recipe.options.overrides) words.push_back(text);
  return words;
}

std::string command_of(const SweepArguments& given, const SweepPlan& plan, std::size_t point) {
  std::vector<std::string> words = {"kdrun"};
  for (const std::vector<std::string>& more : {shared_arguments(given), plan.points[point].overrides()})
    words.insert(words.end(), more.begin(), more.end());
  if (!given.devices.empty()) words.insert(words.end(), {"--device", given.devices[point % given.devices.size()]});
  for (std::string& word : words) word = in_quotes(word);
  return fmt::format("{}", fmt::join(words, " "));
}

/// What a point may need of the memory, where nobody says how many run side by side.
constexpr std::int64_t kMemoryOfPoint = std::int64_t{2} << 30;

/// How many points run side by side: on a CPU one for each processor, since even networks that are worth several
/// threads gain more from having one to themselves.
std::size_t jobs_of(const SweepArguments& given, const SweepPlan& plan) {
  if (given.jobs != "auto") return std::stoul(given.jobs);
  if (!given.devices.empty()) return given.devices.size();
  const at::Device device = choose_device(plan.points.front().plan.device);
  if (!device.is_cpu()) return 1;
  const auto by_memory = static_cast<std::size_t>(std::max<std::int64_t>(1, free_memory(device) / kMemoryOfPoint));
  return std::min({plan.points.size(), allowed_cores().size(), by_memory});
}

/// What the points will take: each stage that several share once, over so many jobs.
double total_seconds(const SweepPlan& plan, TimeEstimate& estimate, std::size_t jobs) {
  std::map<std::string, double> of_stage;  // by what its result depends on
  for (const SweepPoint& point : plan.points) {
    const auto seconds = estimate.seconds(point.plan);
    for (const auto& [stage, identity] : stage_identities(point.plan)) of_stage[identity] = seconds.at(stage);
  }
  double sum = 0;
  for (const auto& [identity, seconds] : of_stage) sum += seconds;
  return sum / static_cast<double>(jobs);
}

void print_plan(const SweepArguments& given, const SweepPlan& plan) {
  const RunOptions options{
      .data_root = data_root(given.recipe.data_root), .runs_folder = given.runs_folder, .arguments = {}};
  Console console;
  const std::size_t jobs = jobs_of(given, plan);
  check_experiment(plan.points.front().plan, options, console);
  for (std::size_t i = 0; i < plan.points.size(); ++i)
    fmt::print("{}: {}\n    {}\n", i, plan.label(plan.points[i]), command_of(given, plan, i));
  TimeEstimate estimate(options, console);
  fmt::print("{} points, {} side by side, about {}\n", plan.points.size(), jobs,
             duration_text(total_seconds(plan, estimate, jobs)));
}

/// Of the sweep as a whole: 75 where it was stopped, 1 where a point failed.
ExitCode outcome(const SweepPlan& plan, const SweepFolder& folder) {
  bool failed = false, stopped = false;
  for (std::size_t i = 0; i < plan.points.size(); ++i) {
    const PointState& state = folder.states()[i];
    failed |= state.status == PointStatus::kFailed;
    stopped |= state.status == PointStatus::kStopped || state.status == PointStatus::kWaiting;
  }
  return stopped ? ExitCode::kResumable : failed ? ExitCode::kFailed : ExitCode::kOk;
}

void list_failures(const SweepPlan& plan, const SweepFolder& folder) {
  for (std::size_t i = 0; i < plan.points.size(); ++i) {
    const PointState& state = folder.states()[i];
    if (state.status != PointStatus::kFailed) continue;
    fmt::print("failed: {}\n    {}\n    log: {}\n", plan.label(plan.points[i]), state.reason,
               folder.log_file(i).string());
  }
}

}  // namespace

void add_sweep(CLI::App& app) {
  auto given = std::make_shared<SweepArguments>();
  CLI::App* command = app.add_subcommand("sweep", "train a recipe over a grid of settings and seeds");
  given->recipe.add_to(*command);
  command->add_option("--grid", given->sweep.grid, "PATH=[values], beside [sweep] grid of the recipe: all combinations")
      ->allow_extra_args(false);
  command->add_option("--zip", given->sweep.zip, "PATH=[values]: taken together with the others of --zip")
      ->allow_extra_args(false);
  command->add_option("--list", given->sweep.list, "{ PATH = value, … }: one combination of its own")
      ->allow_extra_args(false);
  command->add_option("--seeds", given->sweep.seeds, "in place of the recipe's, as 0,1,2")
      ->delimiter(',')
      ->check(whole_number(0))
      ->excludes("--seed");
  command->add_option("--jobs", given->jobs, "points side by side; auto: one for each processor or device of --devices")
      ->capture_default_str()
      ->check(whole_number(1) | CLI::IsMember({"auto"}));
  command->add_option("--devices", given->devices, "as cuda:0,cuda:1: points take them in turn")
      ->delimiter(',')
      ->excludes("--device");
  command->add_option("--run-dir", given->runs_folder, "folder of all runs")->capture_default_str();
  command->add_flag("--fresh", given->fresh, "trains stages anew that are already there");
  command->add_flag("--deterministic", given->deterministic, "only operations that give the same bits every time");
  command->add_option("--max-steps", given->max_steps, "ends each stage after this many steps")->check(whole_number(0));
  command->add_flag("--dry-run", given->dry_run, "lists points, commands and an estimate of the time; trains nothing");
  command->add_flag("--emit-commands", given->emit_commands, "prints one command for each point, for a scheduler");
  command->callback([given] {
    load_plugins_with_warnings(given->recipe.plugin_folders);
    RecipeOptions options = given->recipe.options;
    if (!given->recipe.device.empty()) options.overrides.push_back(fmt::format("device=\"{}\"", given->recipe.device));
    if (!given->recipe.seed.empty()) given->sweep.seeds = {std::stoll(given->recipe.seed)};
    const SweepPlan plan = read_sweep(given->recipe.recipe, options, given->sweep, registry());
    for (const std::string& device : given->devices) choose_device(device);  // throws where there is none
    if (given->emit_commands) {
      for (std::size_t i = 0; i < plan.points.size(); ++i) fmt::print("{}\n", command_of(*given, plan, i));
      return;
    }
    if (given->dry_run) return print_plan(*given, plan);

    watch_stop_signals();
    const std::size_t jobs = jobs_of(*given, plan);
    SweepFolder folder(given->runs_folder, plan,
                       fmt::format("steps {} deterministic {}", given->max_steps, given->deterministic));
    if (given->fresh) folder.states().assign(plan.points.size(), {});
    SweepRunOptions run{
        .command = {own_program().string()}, .jobs = jobs, .devices = given->devices, .stop = stop_requested};
    for (const std::string& word : shared_arguments(*given)) run.command.push_back(word);
    for (const std::string& word : {std::string("--events"), std::string("--share"), std::to_string(jobs)})
      run.command.push_back(word);
    {
      SweepScreen screen(plan, folder, jobs);
      run_sweep(plan, folder, run, screen);
    }
    list_failures(plan, folder);
    const auto done = std::count_if(folder.states().begin(), folder.states().end(),
                                    [](const PointState& state) { return state.status == PointStatus::kDone; });
    fmt::print("{} of {} points done\nsweep folder: {}\n", done, plan.points.size(), folder.path().string());
    const ExitCode code = outcome(plan, folder);
    if (code == ExitCode::kResumable)
      throw Error("the sweep was stopped; the same command goes on from there", ExitCode::kResumable);
    if (code == ExitCode::kFailed)
      throw Error(fmt::format("{} of {} points failed; the same command tries them again",
                              std::count_if(folder.states().begin(), folder.states().end(),
                                            [](const PointState& s) { return s.status == PointStatus::kFailed; }),
                              plan.points.size()));
  });
}

}  // namespace kd::cli
