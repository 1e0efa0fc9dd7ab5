// Shows a run on a terminal, or as lines in a log.
#pragma once

#include <chrono>
#include <string>

#include "engine/progress.h"

namespace kd::cli {

/// "1h05m", "3m07s" or "12s".
std::string duration_text(double seconds);

/// Of the terminal behind standard error; 80 where there is none.
std::size_t terminal_width();

class Console final : public Progress {
 public:
  Console();
  ~Console() override;

  void say(const std::string& line) override;
  void warn(const std::string& line) override;
  void step(const StepProgress& progress) override;
  void epoch(const EpochSummary& summary) override;

 private:
  void clear_bar();

  const bool terminal_;
  bool bar_shown_ = false;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace kd::cli
