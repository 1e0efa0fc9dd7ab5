// slurm.h
#include "sweep/slurm.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "files/atomic_file.h"
#include "files/shell.h"
#include "kd/diagnostics.h"

namespace kd {
namespace {

/// What a task does: its line of the file of commands, and back into the queue where it was stopped at a checkpoint.
constexpr const char* kBody = R"sh(
eval "$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {})"
if [ "$code" = 75 ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
)sh";

/// Runs a command and leaves its status in $code. Slurm tells steps of srun, not the script, that a task's time is
/// over.
std::string line_of(const SlurmTask& task) {
  std::string line = "srun " + task.command;
  const std::string events = in_quotes(task.events.string());
  if (!task.events.empty()) line += fmt::format(" >> {}", events);
  if (!task.log.empty()) line += fmt::format(" 2>> {}", in_quotes(task.log.string()));
  line += "; code=$?";
  if (!task.events.empty()) line += fmt::format(R"(; echo '{{"event": "end", "code": '$code'}}' >> {})", events);
  return line + "\n";
}

std::string header(const std::filesystem::path& folder, const SlurmArray& array, const SlurmOptions& options) {
  std::string text = "#!/bin/sh\n";
  const auto add = [&](const std::string& words) { text += fmt::format("#SBATCH {}\n", words); };
  add(fmt::format("--job-name={}", in_quotes("kdrun-" + array.name)));
  const std::string at_once = options.tasks_at_once > 0 ? fmt::format("%{}", options.tasks_at_once) : "";
  add(fmt::format("--array=0-{}{}", array.tasks.size() - 1, at_once));
  add(fmt::format("--output={}", in_quotes((folder / (array.name + "_%a.txt")).string())));
  add("--open-mode=append --requeue --signal=TERM@60");
  if (options.gpus > 0) {
    add(fmt::format("--nodes=1 --ntasks={} --gpus={}", options.gpus, options.gpus));
  } else {
    add("--ntasks=1");
  }
  if (!options.partition.empty()) add(fmt::format("--partition={}", in_quotes(options.partition)));
  if (!options.time.empty()) add(fmt::format("--time={}", in_quotes(options.time)));
  for (const std::string& words : options.more) add(words);
  return text;
}

/// What one of Slurm's programs says; throws Error with that where it fails.
std::string answer_of(const std::string& command) {
  const CommandOutput output = run_in_shell(command + " 2>&1");
  if (output.status == 127)
    throw Error(fmt::format("Slurm is not here: {}", output.text.substr(0, output.text.find('\n'))));
  if (output.status != 0) throw Error(fmt::format("'{}' failed: {}", command, output.text));
  return output.text.substr(0, output.text.find_last_not_of('\n') + 1);
}

}  // namespace

std::filesystem::path write_slurm_array(const std::filesystem::path& folder, const SlurmArray& array,
                                        const SlurmOptions& options) {
  std::filesystem::create_directories(folder);
  const std::filesystem::path place = std::filesystem::absolute(folder).lexically_normal();
  const std::filesystem::path script = place / (array.name + ".sh"), commands = place / (array.name + ".txt");
  std::string lines;
  for (const SlurmTask& task : array.tasks) lines += line_of(task);
  write_file(commands, lines);
  write_file(script, header(place, array, options) + fmt::format(fmt::runtime(kBody), in_quotes(commands.string())));
  return script;
}

std::string sbatch_command(const std::filesystem::path& script, const std::string& after) {
  const std::string dependency = after.empty() ? "" : fmt::format(" --dependency=afterany:{}", after);
  return fmt::format("sbatch --parsable{} {}", dependency, in_quotes(script.string()));
}

std::string submit_to_slurm(const std::filesystem::path& script, const std::string& after) {
  // "123", or "123;cluster"; warnings may stand before it.
  const std::string said = answer_of(sbatch_command(script, after));
  const std::string last = said.substr(said.find_last_of('\n') + 1);
  const std::string job = last.substr(0, last.find(';'));
  if (job.empty() || job.find_first_not_of("0123456789") != std::string::npos)
    throw Error(fmt::format("sbatch did not say which job it is: {}", said));
  return job;
}

bool is_in_slurm_queue(const std::string& job) {
  // A list, of which a job that is long gone is a member without an error.
  const std::string queue = answer_of("squeue --noheader --array --format=%F");
  return ("\n" + queue + "\n").find("\n" + job + "\n") != std::string::npos;
}

std::vector<SharedTask> shared_tasks(const SweepPlan& plan, const std::vector<std::size_t>& points) {
  std::map<std::string, int> users;
  for (const std::size_t point : points) {
    for (const auto& [stage, identity] : stage_identities(plan.points[point].plan)) ++users[identity];
  }
  std::set<std::set<std::string>> seen;
  std::vector<SharedTask> tasks;
  for (const std::size_t point : points) {
    std::set<std::string> identities;
    std::vector<std::string> stages;
    for (const auto& [stage, identity] : stage_identities(plan.points[point].plan)) {
      if (users[identity] < 2) continue;
      identities.insert(identity);
      stages.push_back(stage);
    }
    if (!stages.empty() && seen.insert(identities).second) tasks.push_back({point, stages});
  }
  return tasks;
}

}  // namespace kd
