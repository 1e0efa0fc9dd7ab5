// Programs side by side: each in a slot that gives it its share of the processors and its device.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sweep/child_process.h"

namespace kd {

/// A program that has ended.
struct EndedJob {
  std::size_t id;
  int status;      ///< as ChildProcess::exit_status()
  double seconds;  ///< that it took
  std::filesystem::path log;
  std::uintmax_t log_begin;  ///< where in the log it began

  /// Why it ended so; see reason_of().
  std::string reason() const { return reason_of(status, log, log_begin); }
};

class JobPool {
 public:
  /// So many at a time; `devices` are taken in turn, none leaves them as the programs' arguments say. `told` hears what
  /// a program wrote as `kdrun run --events` does, `ended` that it is no more.
  JobPool(std::size_t most, std::vector<std::string> devices,
          std::function<void(std::size_t id, const nlohmann::json& event)> told,
          std::function<void(const EndedJob&)> ended);

  bool empty() const { return jobs_.empty(); }
  bool full() const { return jobs_.size() >= most_; }
  /// Starts a program under an id of the caller's. Its standard error is appended to `log`.
  void start(std::size_t id, std::vector<std::string> command, const std::filesystem::path& log);
  /// Tells what has happened, after a tenth of a second at most.
  void wait();
  /// Asks every program to stop. Once: a second request would end it without a checkpoint.
  void ask_to_stop();

 private:
  struct Job {
    std::size_t id, slot;
    std::unique_ptr<ChildProcess> process;
    std::chrono::steady_clock::time_point begin;
    std::filesystem::path log;
    std::uintmax_t log_begin;
  };

  std::size_t free_slot() const;
  void listen(const Job& job) const;

  const std::size_t most_;
  const std::vector<std::string> devices_;
  const std::function<void(std::size_t, const nlohmann::json&)> told_;
  const std::function<void(const EndedJob&)> ended_;
  std::vector<Job> jobs_;
};

}  // namespace kd
