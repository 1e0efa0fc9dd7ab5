// What happens in a run as lines of JSON on standard output, for a program that watches it.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/progress.h"

namespace kd::cli {

/// Passes everything on to another watcher also. Events: "run" (folder), "step" (at most twice a second: stage, epoch,
/// epochs, batch, batches, images_per_second, seconds_left), "epoch" (stage, epoch, epochs, line) and "stage" (stage,
/// reused, seconds).
class EventStream final : public Progress {
 public:
  explicit EventStream(Progress& inner) : inner_(inner) {}

  void say(const std::string& line) override { inner_.say(line); }
  void warn(const std::string& line) override { inner_.warn(line); }
  void step(const StepProgress& progress) override;
  void epoch(const EpochSummary& summary) override;
  void began(const std::filesystem::path& run) override;
  void finished(const std::string& stage, bool reused, double seconds) override;

 private:
  Progress& inner_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace kd::cli
