// A sweep on one screen: how far it is and what each of its points is doing, or a line for each event in a log.
#pragma once

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sweep/sweep_folder.h"
#include "sweep/sweep_runner.h"

namespace kd::cli {

class SweepScreen final : public SweepObserver {
 public:
  SweepScreen(const SweepPlan& plan, const SweepFolder& folder, std::size_t jobs);
  ~SweepScreen() override;

  void started(std::size_t point) override;
  void told(std::size_t point, const nlohmann::json& event) override;
  void ended(std::size_t point) override;
  void waited() override;

 private:
  using Clock = std::chrono::steady_clock;

  std::size_t count(PointStatus status) const;
  std::string headline() const;
  void say(const std::string& line);
  void clear();
  void draw();

  const SweepPlan& plan_;
  const SweepFolder& folder_;
  const std::size_t jobs_;
  const bool terminal_;
  const std::size_t done_before_;
  const Clock::time_point begin_ = Clock::now();
  std::map<std::size_t, std::string> doing_;  // by point, those that run
  std::size_t lines_ = 0;                     // drawn
  Clock::time_point drawn_;
};

}  // namespace kd::cli
