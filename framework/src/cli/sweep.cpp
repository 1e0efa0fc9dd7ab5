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
#include "files/atomic_file.h"
#include "files/shell.h"
#include "plugin/registry.h"
#include "report/table_views.h"
#include "sweep/child_process.h"
#include "sweep/slurm.h"
#include "sweep/sweep_folder.h"
#include "sweep/sweep_runner.h"

namespace kd::cli {
namespace {

struct SweepArguments {
  RecipeArguments recipe;
  SweepOptions sweep;
  std::string runs_folder = "runs", jobs = "auto";
  std::vector<std::string> devices;
  bool fresh = false, dry_run = false, emit_commands = false, deterministic = false, slurm = false;
  SlurmOptions slurm_options;
  std::int64_t max_steps = 0;
};

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

std::string command_of(const SweepArguments& given, const SweepPlan& plan, std::size_t point,
                       const std::string& program = "kdrun") {
  std::vector<std::string> words = {program};
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

SweepFolder open_folder(const SweepArguments& given, const SweepPlan& plan) {
  return {given.runs_folder, plan, fmt::format("steps {} deterministic {}", given.max_steps, given.deterministic)};
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

/// Points that wait, or did not come to their end the last time.
std::vector<std::size_t> missing_points(const SweepFolder& folder) {
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < folder.states().size(); ++i) {
    if (folder.states()[i].status != PointStatus::kDone) missing.push_back(i);
  }
  return missing;
}

/// The points as an array, each of which tells what happens in a file of the sweep folder.
SlurmArray array_of_points(const SweepArguments& given, const SweepPlan& plan, const SweepFolder& folder,
                           const std::vector<std::size_t>& points) {
  SlurmArray array{.name = "points", .tasks = {}};
  for (const std::size_t point : points) {
    array.tasks.push_back(
        {.command = fmt::format("{} --expect {} --events", command_of(given, plan, point, own_program().string()),
                                resolved_digest(plan.points[point].plan)),
         .events = std::filesystem::absolute(folder.events_file(point)),
         .log = std::filesystem::absolute(folder.log_file(point))});
  }
  return array;
}

SlurmArray array_of_shared(const SweepArguments& given, const SweepPlan& plan, const std::vector<SharedTask>& tasks) {
  SlurmArray array{.name = "shared", .tasks = {}};
  for (const SharedTask& task : tasks) {
    array.tasks.push_back(
        {.command = fmt::format("{} --stages {}", command_of(given, plan, task.point, own_program().string()),
                                in_quotes(fmt::format("{}", fmt::join(task.stages, ","))))});
  }
  return array;
}

/// The files that hold the numbers of the jobs that were submitted last, of shared stages and of points.
std::filesystem::path shared_file(const SweepFolder& folder) { return folder.path() / "slurm" / "shared_job"; }
std::filesystem::path job_file(const SweepFolder& folder) { return folder.path() / "slurm" / "job"; }

/// The jobs in Slurm's queue that train a sweep, or are to.
std::vector<std::string> queued_jobs(const SweepFolder& folder) {
  std::vector<std::string> queued;
  for (const std::filesystem::path& file : {shared_file(folder), job_file(folder)}) {
    const std::string job = std::filesystem::exists(file) ? read_text(file) : "";
    if (!job.empty() && is_in_slurm_queue(job)) queued.push_back(job);
  }
  return queued;
}

/// Two trainings of one sweep would wait for each other's stages. Throws Error where a job is at it.
void refuse_beside_slurm(const SweepFolder& folder) {
  std::vector<std::string> jobs;
  try {
    jobs = queued_jobs(folder);
  } catch (const Error& error) {
    Console().warn(fmt::format("whether Slurm trains this sweep still is not known: {}", error.what()));
  }
  if (jobs.empty()) return;
  throw Error(fmt::format("job {} is in Slurm's queue and trains this sweep: with --slurm the command says what became "
                          "of it, and after `scancel {}` this one goes on from there",
                          fmt::join(jobs, ", "), fmt::join(jobs, " ")),
              ExitCode::kUsage);
}

/// Submits what is missing of a sweep as job arrays, or says what became of those that were submitted.
void submit_sweep(const SweepArguments& given, const SweepPlan& plan) {
  SweepFolder folder = open_folder(given, plan);
  const std::filesystem::path scripts = folder.path() / "slurm";
  const std::vector<std::string> jobs = queued_jobs(folder);
  const bool queued = !jobs.empty();
  if (given.fresh && !queued && !given.dry_run) folder.forget();
  folder.read_events();
  list_failures(plan, folder);
  const std::vector<std::size_t> points = missing_points(folder);
  const std::string done = fmt::format("{} of {} points done\nsweep folder: {}\n", plan.points.size() - points.size(),
                                       plan.points.size(), folder.path().string());
  if (!given.dry_run) folder.write();
  if (queued || points.empty()) {
    fmt::print("{}{}",
               queued ? fmt::format("job {} is in Slurm's queue, nothing is submitted: squeue --job {}\n",
                                    fmt::join(jobs, ", "), fmt::join(jobs, ","))
                      : "",
               done);
    return;
  }
  SlurmOptions options = given.slurm_options;
  if (given.jobs != "auto") options.tasks_at_once = std::stoul(given.jobs);
  const std::vector<SharedTask> shared = shared_tasks(plan, points);
  const std::filesystem::path first = shared.empty()
                                          ? std::filesystem::path()
                                          : write_slurm_array(scripts, array_of_shared(given, plan, shared), options);
  const std::filesystem::path second =
      write_slurm_array(scripts, array_of_points(given, plan, folder, points), options);
  if (given.dry_run) {
    if (!first.empty()) fmt::print("{}\n", sbatch_command(first));
    fmt::print("{}\n{}", sbatch_command(second, first.empty() ? "" : "JOB"), done);
    return;
  }
  for (const std::size_t point : points) std::filesystem::remove(folder.events_file(point));
  std::string before;
  if (!first.empty()) {
    before = submit_to_slurm(first);
    write_file(shared_file(folder), before);
    fmt::print("job {}: {} task(s) for stages that points share\n", before, shared.size());
  }
  const std::string submitted = submit_to_slurm(second, before);
  write_file(job_file(folder), submitted);
  fmt::print("job {}: {} points{}\n{}the same command later says what became of them, and submits what is missing\n",
             submitted, points.size(), before.empty() ? "" : ", after it", done);
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
      ->allow_extra_args(false)
      ->check(whole_number(0))
      ->excludes("--seed");
  command->add_option("--jobs", given->jobs, "points side by side; auto: one for each processor or device of --devices")
      ->capture_default_str()
      ->check(whole_number(1) | CLI::IsMember({"auto"}));
  command->add_option("--devices", given->devices, "as cuda:0,cuda:1: points take them in turn")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->excludes("--device");
  command->add_option("--run-dir", given->runs_folder, "folder of all runs")->capture_default_str();
  command->add_flag("--fresh", given->fresh, "trains stages anew that are already there");
  command->add_flag("--deterministic", given->deterministic, "only operations that give the same bits every time");
  command->add_option("--max-steps", given->max_steps, "ends each stage after this many steps")->check(whole_number(0));
  command->add_flag("--dry-run", given->dry_run, "lists points, commands and an estimate of the time; trains nothing");
  command->add_flag("--emit-commands", given->emit_commands, "prints one command for each point, for a scheduler");
  const auto of_slurm = [command](CLI::Option* option) {
    option->group("Slurm");
    return option;
  };
  CLI::Option* slurm = of_slurm(command->add_flag(
      "--slurm", given->slurm,
      "submits the points as a job array, after stages that they share; --jobs: so many at once; --dry-run: writes the "
      "scripts and submits nothing"));
  slurm->excludes("--emit-commands")->excludes("--devices");
  of_slurm(command->add_option("--partition", given->slurm_options.partition, "of the jobs"))->needs(slurm);
  of_slurm(command->add_option("--time", given->slurm_options.time,
                               "limit of a point, as 4:00:00; one that is stopped by it is queued again"))
      ->needs(slurm);
  of_slurm(
      command->add_option("--gpus", given->slurm_options.gpus, "of a point, which is trained by as many processes"))
      ->check(whole_number(1))
      ->needs(slurm);
  of_slurm(command->add_option("--sbatch", given->slurm_options.more,
                               "a line of options for sbatch, as --sbatch=--account=kd"))
      ->allow_extra_args(false)
      ->needs(slurm);
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
    if (given->slurm) return submit_sweep(*given, plan);
    if (given->dry_run) return print_plan(*given, plan);

    watch_stop_signals();
    const std::size_t jobs = jobs_of(*given, plan);
    SweepFolder folder = open_folder(*given, plan);
    refuse_beside_slurm(folder);
    if (given->fresh) folder.forget();
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
