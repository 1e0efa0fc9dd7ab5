// stage_runner.h
#include "sweep/stage_runner.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "kd/diagnostics.h"
#include "recipe/stage_order.h"
#include "recipe/sweep.h"
#include "sweep/job_pool.h"

namespace kd {
namespace {

enum class Status { kWaiting, kRunning, kDone, kFailed, kLeftOut };

class StageRunner {
 public:
  StageRunner(const ExperimentPlan& plan, const StageRunOptions& options)
      : plan_(plan),
        options_(options),
        jobs_(
            options.jobs, options.devices,
            [this](std::size_t stage, const nlohmann::json& event) { listen(name_of(stage), event); },
            [this](const EndedJob& job) { end(name_of(job.id), job); }) {
    std::filesystem::create_directories(options_.logs);
  }

  void run() {
    while (true) {
      if (options_.stop() && !stopping_) stop();
      leave_out();
      while (!stopping_ && start_next()) {
      }
      if (jobs_.empty()) break;
      jobs_.wait();
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
  const std::string& name_of(std::size_t stage) const { return plan_.stages[stage].name; }

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
    if (jobs_.full()) return false;
    for (std::size_t stage = 0; stage < plan_.stages.size(); ++stage) {
      if (!is_ready(plan_.stages[stage])) continue;
      start(stage);
      return true;
    }
    return false;
  }

  void start(std::size_t stage) {
    const std::string& name = name_of(stage);
    std::vector<std::string> command = options_.command;
    command.insert(command.end(), {"--stages", name, "--expect", resolved_digest(plan_)});
    jobs_.start(stage, std::move(command), options_.logs / (name + ".log"));
    status_[name] = Status::kRunning;
    options_.say(fmt::format("stage {}: begins", name));
  }

  void listen(const std::string& stage, const nlohmann::json& event) const {
    // The stages that it needs are told of by the programs that train them.
    if (event.value("stage", "") == stage && event.value("event", "") == "epoch") options_.say(event.value("line", ""));
  }

  void end(const std::string& stage, const EndedJob& job) {
    if (job.status == static_cast<int>(ExitCode::kOk)) {
      status_[stage] = Status::kDone;
      options_.say(fmt::format("stage {}: done", stage));
    } else if (job.status == static_cast<int>(ExitCode::kResumable) || stopping_) {
      if (!stopping_) stop();
    } else {
      status_[stage] = Status::kFailed;
      if (failures_.empty()) code_ = job.status > 128 ? ExitCode::kFailed : static_cast<ExitCode>(job.status);
      failures_.push_back(fmt::format("stage '{}': {}", stage, job.reason()));
      options_.say(failures_.back());
    }
  }

  void stop() {
    stopping_ = true;
    jobs_.ask_to_stop();
  }

  const ExperimentPlan& plan_;
  const StageRunOptions& options_;
  std::map<std::string, Status> status_;
  JobPool jobs_;
  std::vector<std::string> failures_;
  ExitCode code_ = ExitCode::kFailed;
  bool stopping_ = false;
};

}  // namespace

void run_stages_side_by_side(const ExperimentPlan& plan, const StageRunOptions& options) {
  StageRunner(plan, options).run();
}

}  // namespace kd
