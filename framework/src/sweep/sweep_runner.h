// Runs the points of a sweep as programs of their own, several side by side.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "recipe/sweep.h"
#include "sweep/sweep_folder.h"

namespace kd {

struct SweepRunOptions {
  /// The program and its arguments up to those of a point: it takes overrides and --device after them, tells events as
  /// `kdrun run --events` does, and ends with kdrun's exit codes.
  std::vector<std::string> command;
  std::size_t jobs = 1;
  std::vector<std::string> devices = {};              ///< taken in turn; empty: as the recipe says
  std::function<bool()> stop = [] { return false; };  ///< asked several times a second
};

/// Told what happens, from one thread.
class SweepObserver {
 public:
  virtual ~SweepObserver() = default;
  virtual void started(std::size_t point) = 0;
  /// What `kdrun run --events` wrote of a point.
  virtual void told(std::size_t point, const nlohmann::json& event) = 0;
  virtual void ended(std::size_t point) = 0;
  /// Several times a second.
  virtual void waited() = 0;
};

/// Runs every point that is not done. Points that share a stage do not train it at the same time: one does, the others
/// begin when it is there. The folder is written whenever a point ends. Where it is asked to stop, it stops the points
/// and returns.
KD_API void run_sweep(const SweepPlan& plan, SweepFolder& folder, const SweepRunOptions& options,
                      SweepObserver& observer);

}  // namespace kd
