// Sweeps as job arrays of Slurm: scripts for sbatch, and what became of the jobs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kd/api.h"
#include "recipe/sweep.h"

namespace kd {

/// What a task of an array asks Slurm for.
struct KD_API SlurmOptions {
  std::string partition = {}, time = {};  ///< as sbatch takes them; empty: Slurm's own
  std::int64_t gpus = 0;                  ///< of a task, which is trained by as many processes
  std::size_t tasks_at_once = 0;          ///< 0: as many as Slurm starts
  std::vector<std::string> more = {};     ///< "--account=kd"
};

/// A command of a shell, which srun starts. Where its exit status is 75, Slurm queues it again.
struct KD_API SlurmTask {
  std::string command;
  /// What it tells as `kdrun run --events` does, and how it ended, and what it says. Empty: among Slurm's own words.
  std::filesystem::path events = {}, log = {};
};

/// A job array.
struct KD_API SlurmArray {
  std::string name;
  std::vector<SlurmTask> tasks;
};

/// The script and the file of commands that it reads, a line for each task, written as NAME.sh and NAME.txt in
/// `folder`, where Slurm's own words go too. Returns the script's file.
KD_API std::filesystem::path write_slurm_array(const std::filesystem::path& folder, const SlurmArray& array,
                                               const SlurmOptions& options);

/// The command that submits a script, to be run when the job `after` has ended, however it did; empty: at once.
KD_API std::string sbatch_command(const std::filesystem::path& script, const std::string& after = "");

/// Submits by that command and returns the job's number. Throws Error with what sbatch says.
KD_API std::string submit_to_slurm(const std::filesystem::path& script, const std::string& after = "");

/// Whether a job, or a task of it, is queued or runs. Throws Error where Slurm does not answer.
KD_API bool is_in_slurm_queue(const std::string& job);

/// A point whose stages are to be trained before the points that share them.
struct KD_API SharedTask {
  std::size_t point;
  std::vector<std::string> stages;
};

/// For each set of stages that one of `points` has and others have too, the first such point.
KD_API std::vector<SharedTask> shared_tasks(const SweepPlan& plan, const std::vector<std::size_t>& points);

}  // namespace kd
