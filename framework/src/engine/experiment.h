// A whole run: stages in order, analyses, run folder.
#pragma once

#include <string>
#include <vector>

#include "engine/run_context.h"
#include "kd/diagnostics.h"

namespace kd {

struct KD_API RunOptions {
  std::filesystem::path data_root;
  std::filesystem::path runs_folder = "runs";
  bool fresh = false;
  bool deterministic = false;
  std::int64_t max_steps = 0;
  double memory_share = 1;              ///< of the free memory that caches may take, where runs go on side by side
  std::vector<std::string> arguments;   ///< for run.json
  Group* group = &Group::alone();       ///< the processes that train together; the first alone writes and speaks
  std::int64_t processes_here = 1;      ///< of them, those that share this host's processors
  std::filesystem::path rank_log = {};  ///< where a process that is not the first says what it does; empty: nowhere
};

struct KD_API RunResult {
  std::filesystem::path folder;  ///< empty in all processes but the first
  std::vector<StageResult> stages;
};

/// What the stages of a run share, before the first of them.
KD_API RunContext make_context(const ExperimentPlan& plan, const RunOptions& options, Progress& progress);

/// Runs the plan. Where it throws, run.json of its folder says why.
KD_API RunResult run_experiment(const ExperimentPlan& plan, const RunOptions& options, Progress& progress);

/// Trains the stages and keeps them for runs to come, without analyses and without a run folder.
KD_API RunResult train_and_keep(const ExperimentPlan& plan, const RunOptions& options, Progress& progress);

/// Makes every part of every stage and analysis, takes a step of two images through each stage, and trains nothing:
/// what run_experiment does first. Throws an Error with all problems.
KD_API void check_experiment(const ExperimentPlan& plan, const RunOptions& options, Progress& progress);

}  // namespace kd
