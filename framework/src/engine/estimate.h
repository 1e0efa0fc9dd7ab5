// How long a recipe will take, from a few steps of each of its stages.
#pragma once

#include <map>
#include <string>

#include "engine/experiment.h"
#include "kd/api.h"

namespace kd {

/// What a stage's speed depends on, as text: stages of equal text are measured once.
KD_API std::string cost_signature(const StagePlan& stage);

/// Measures stages and remembers what they took.
class KD_API TimeEstimate {
 public:
  TimeEstimate(const RunOptions& options, Progress& progress) : options_(options), progress_(progress) {}

  /// Seconds of each stage of a plan, trained alone on this machine with its processors: steps of training and of
  /// evaluation, without what a cache of teachers' answers saves. Throws where a stage cannot take a step.
  std::map<std::string, double> seconds(const ExperimentPlan& plan);

 private:
  const RunOptions& options_;
  Progress& progress_;
  std::map<std::string, double> known_;  // seconds of a step by signature
};

}  // namespace kd
