// What the engine tells whoever watches a run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "kd/api.h"

namespace kd {

/// Where a stage stands inside an epoch. `means` waits for the device, so call it only when it is shown.
struct KD_API StepProgress {
  std::string stage;
  std::int64_t epoch = 0, epochs = 0;  ///< epoch counts from 0
  std::int64_t batch = 0, batches = 0;
  double learning_rate = 0;
  double images_per_second = 0;
  double seconds_left = 0;  ///< of the stage
  std::function<std::map<std::string, double>()> means;
};

/// The end of an epoch.
struct KD_API EpochSummary {
  std::string stage;
  std::int64_t epoch = 0, epochs = 0;  ///< epochs completed
  double learning_rate = 0;            ///< of the last update
  double images_per_second = 0;
  std::map<std::string, std::map<std::string, double>>
      networks;  ///< numbers of each network: "loss", "top1", "test/top1" …
};

/// "student epoch 3/12 loss 0.5 train 80.00% test 78.10% lr 0.05 5000 img/s", as terminal and log show it.
KD_API std::string to_line(const EpochSummary& summary);

class KD_API Progress {
 public:
  virtual ~Progress();
  virtual void say(const std::string& line) = 0;
  virtual void warn(const std::string& line) = 0;
  /// Called after every step; decides itself how often it shows something.
  virtual void step(const StepProgress& progress) = 0;
  virtual void epoch(const EpochSummary& summary) = 0;
  /// The run has its folder.
  virtual void began(const std::filesystem::path& /*run*/) {}
  /// A stage is there: trained, or found as trained before.
  virtual void finished(const std::string& /*stage*/, bool /*reused*/, double /*seconds*/) {}
};

/// For those whom nobody watches.
class KD_API SilentProgress final : public Progress {
 public:
  void say(const std::string&) override {}
  void warn(const std::string&) override {}
  void step(const StepProgress&) override {}
  void epoch(const EpochSummary&) override {}
};

}  // namespace kd
