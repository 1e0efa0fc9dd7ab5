// Trains the stages of a recipe as programs of their own, side by side where they do not need each other.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "kd/api.h"
#include "recipe/plan.h"

namespace kd {

struct StageRunOptions {
  /// The program and its arguments up to those of a stage: it takes --stages after them, tells events as
  /// `kdrun run --events` does, keeps the stage, and ends with kdrun's exit codes.
  std::vector<std::string> command;
  std::size_t jobs = 1;
  std::vector<std::string> devices = {};  ///< taken in turn; empty: as the recipe says
  std::filesystem::path logs;             ///< folder of what each program says
  std::function<void(const std::string&)> say = [](const std::string&) {};
  std::function<bool()> stop = [] { return false; };  ///< asked several times a second
};

/// Trains every stage once those that it needs are trained. A stage that fails leaves the others theirs, but for those
/// that need it. Throws an Error with what failed, or that it was stopped, once no program runs any more.
KD_API void run_stages_side_by_side(const ExperimentPlan& plan, const StageRunOptions& options);

}  // namespace kd
