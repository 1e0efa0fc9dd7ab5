// stage_runner.h
#include "sweep/stage_runner.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "kd/diagnostics.h"
#include "recipe/stage_order.h"
#include "recipe/sweep.h"
#include "sweep/child_process.h"

namespace kd {
namespace {

constexpr int kBetweenLooks = 100;  // milliseconds

enum class Status { kWaiting, kRunning, kDone, kFailed, kLeftOut };

struct Job {
  std::string stage;
  std::size_t slot;
  std::unique_ptr<ChildProcess> process;
  std::uintmax_t log_begin;
};

class StageRunner {
 public:
  StageRunner(const ExperimentPlan& plan, const StageRunOptions& options) : plan_(plan), options_(options) {
    std::filesystem::create_directories(options_.logs);
  }

  void run() {
    while (true) {
      if (options_.stop() && !stopping_) stop();
      leave_out();
      while (!stopping_ && start_next()) {
      }
      if (jobs_.empty()) break;
      wait();
    }
    if (stopping_) throw Error("stopped; the same command goes on from there", ExitCode::kResumable);
    if (failures_.empty()) return;
    for (const auto& [stage, status] : status_) {
      if (status == Status::kLeftOut) failures_.push_back(fmt::format("stage '{}': needs one that failed", stage));
    }
    throw Error(fmt::format("{} of {} stages failed, the others are kept:\n{}", failures_.size(), plan_.stages.size(),
                            fmt::join(failures_, "\n")),
                code_);
  }

 private:
  std::filesystem::path log_of(const std::string& stage) const { return options_.logs / (stage + ".log"); }

  /// Those that wait for what will not come.
  void leave_out() {
    for (const StagePlan& stage : plan_.stages) {  // needs stand before
      for (const std::string& need : needs_of(stage)) {
        const Status status = status_[need];
        if (status == Status::kFailed || status == Status::kLeftOut) status_[stage.name] = Status::kLeftOut;
      }
    }
  }

  bool is_ready(const StagePlan& stage) {
    if (status_[stage.name] != Status::kWaiting) return false;
    const std::vector<std::string> needs = needs_of(stage);
    return std::all_of(needs.begin(), needs.end(),
                       [&](const std::string& need) { return status_[need] == Status::kDone; });
  }

  bool start_next() {
    if (jobs_.size() >= options_.jobs) return false;
    const auto next =
        std::find_if(plan_.stages.begin(), plan_.stages.end(), [&](const StagePlan& stage) { return is_ready(stage); });
    if (next == plan_.stages.end()) return false;
    start(next->name);
    return true;
  }

  void start(const std::string& stage) {
    std::size_t slot = 0;
    while (std::any_of(jobs_.begin(), jobs_.end(), [&](const Job& job) { return job.slot == slot; })) ++slot;
    std::vector<std::string> command = options_.command;
    command.insert(command.end(), {"--stages", stage, "--expect", resolved_digest(plan_)});
    if (!options_.devices.empty())
      command.insert(command.end(), {"--device", options_.devices[slot % options_.devices.size()]});
    const std::filesystem::path log = log_of(stage);
    const std::uintmax_t begin = std::filesystem::exists(log) ? std::filesystem::file_size(log) : 0;
    jobs_.push_back({stage, slot,
                     std::make_unique<ChildProcess>(ChildOptions{command, log, share_of_cores(slot, options_.jobs)}),
                     begin});
    status_[stage] = Status::kRunning;
    options_.say(fmt::format("stage {}: begins", stage));
  }

  void wait() {
    std::vector<pollfd> descriptors;
    for (const Job& job : jobs_) descriptors.push_back({job.process->descriptor(), POLLIN, 0});
    ::poll(descriptors.data(), descriptors.size(), kBetweenLooks);
    for (std::size_t i = 0; i < jobs_.size();) {
      const auto status = jobs_[i].process->exit_status();
      listen(jobs_[i]);
      if (!status) {
        ++i;
        continue;
      }
      const Job job = std::move(jobs_[i]);
      jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(i));
      end(job, *status);
    }
    // A pipe whose writer has closed it wakes poll() at once, until its process has ended.
    ::poll(nullptr, 0, kBetweenLooks / 10);
  }

  void listen(const Job& job) {
    for (const std::string& line : job.process->read_lines()) {
      const auto event = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      // The stages that it needs are told of by the programs that train them.
      if (!event.is_object() || event.value("stage", "") != job.stage) continue;
      if (event.value("event", "") == "epoch") options_.say(event.value("line", ""));
    }
  }

  void end(const Job& job, int status) {
    if (status == static_cast<int>(ExitCode::kOk)) {
      status_[job.stage] = Status::kDone;
      options_.say(fmt::format("stage {}: done", job.stage));
    } else if (status == static_cast<int>(ExitCode::kResumable) || stopping_) {
      stopping_ = true;
      for (Job& other : jobs_) other.process->ask_to_stop();
    } else {
      status_[job.stage] = Status::kFailed;
      if (failures_.empty()) code_ = status > 128 ? ExitCode::kFailed : static_cast<ExitCode>(status);
      failures_.push_back(
          fmt::format("stage '{}': {}", job.stage, reason_of(status, log_of(job.stage), job.log_begin)));
      options_.say(failures_.back());
    }
  }

  void stop() {
    stopping_ = true;
    for (Job& job : jobs_) job.process->ask_to_stop();
  }

  const ExperimentPlan& plan_;
  const StageRunOptions& options_;
  std::map<std::string, Status> status_;
  std::vector<Job> jobs_;
  std::vector<std::string> failures_;
  ExitCode code_ = ExitCode::kFailed;
  bool stopping_ = false;
};

}  // namespace

void run_stages_side_by_side(const ExperimentPlan& plan, const StageRunOptions& options) {
  StageRunner(plan, options).run();
}

}  // namespace kd
