// sweep_runner.h
#include "sweep/sweep_runner.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "kd/diagnostics.h"
#include "sweep/job_pool.h"

namespace kd {
namespace {

/// Stages that several points share, and who trains them.
class SharedStages {
 public:
  explicit SharedStages(const SweepPlan& plan) {
    std::map<std::string, int> users;
    for (const SweepPoint& point : plan.points) {
      of_point_.push_back(stage_identities(point.plan));
      for (const auto& [stage, identity] : of_point_.back()) ++users[identity];
    }
    for (const auto& [identity, count] : users) {
      if (count > 1) shared_.insert(identity);
    }
  }

  /// Whether no other point is training what `point` needs.
  bool are_free(std::size_t point) const {
    return std::none_of(of_point_[point].begin(), of_point_[point].end(),
                        [&](const auto& stage) { return in_work_.contains(stage.second); });
  }
  void claim(std::size_t point) {
    for (const auto& [stage, identity] : of_point_[point]) {
      if (shared_.contains(identity) && !trained_.contains(identity)) in_work_.insert(identity);
    }
  }
  void finish(std::size_t point, const std::string& stage) {
    const auto found = of_point_[point].find(stage);
    if (found == of_point_[point].end()) return;
    trained_.insert(found->second);
    in_work_.erase(found->second);
  }
  void release(std::size_t point) {
    for (const auto& [stage, identity] : of_point_[point]) in_work_.erase(identity);
  }

 private:
  std::vector<std::map<std::string, std::string>> of_point_;
  std::set<std::string> shared_, trained_, in_work_;
};

class SweepRunner {
 public:
  SweepRunner(const SweepPlan& plan, SweepFolder& folder, const SweepRunOptions& options, SweepObserver& observer)
      : plan_(plan),
        folder_(folder),
        options_(options),
        observer_(observer),
        stages_(plan),
        jobs_(
            options.jobs, options.devices,
            [this](std::size_t point, const nlohmann::json& event) { listen(point, event); },
            [this](const EndedJob& job) { end(job); }) {}

  void run() {
    folder_.write();
    while (true) {
      if (options_.stop() && !stopping_) stop();
      while (!stopping_ && start_next()) {
      }
      if (jobs_.empty()) break;
      jobs_.wait();
      observer_.waited();
    }
    folder_.write();
  }

 private:
  PointState& state(std::size_t point) { return folder_.states()[point]; }

  /// Starts a point where there is a place for it and one that need not wait for another.
  bool start_next() {
    if (jobs_.full()) return false;
    for (std::size_t point = 0; point < plan_.points.size(); ++point) {
      if (state(point).status != PointStatus::kWaiting || !stages_.are_free(point)) continue;
      start(point);
      return true;
    }
    return false;
  }

  void start(std::size_t point) {
    std::vector<std::string> command = options_.command;
    command.insert(command.end(), {"--expect", resolved_digest(plan_.points[point].plan)});
    for (const std::string& text : plan_.points[point].overrides()) command.push_back(text);
    jobs_.start(point, std::move(command), folder_.log_file(point));
    stages_.claim(point);
    state(point) = {.status = PointStatus::kRunning, .reason = {}, .run = {}, .seconds = 0};
    observer_.started(point);
  }

  void listen(std::size_t point, const nlohmann::json& event) {
    const std::string kind = event.value("event", "");
    if (kind == "run") state(point).run = event.value("folder", "");
    if (kind == "stage") stages_.finish(point, event.value("stage", ""));
    observer_.told(point, event);
  }

  void end(const EndedJob& job) {
    PointState& point = state(job.id);
    point.seconds = job.seconds;
    stages_.release(job.id);
    if (job.status == static_cast<int>(ExitCode::kOk)) {
      point.status = PointStatus::kDone;
    } else if (job.status == static_cast<int>(ExitCode::kResumable) || stopping_) {
      point.status = PointStatus::kStopped;
    } else {
      point.status = PointStatus::kFailed;
      point.reason = job.reason();
    }
    folder_.write();
    observer_.ended(job.id);
  }

  void stop() {
    stopping_ = true;
    jobs_.ask_to_stop();
  }

  const SweepPlan& plan_;
  SweepFolder& folder_;
  const SweepRunOptions& options_;
  SweepObserver& observer_;
  SharedStages stages_;
  JobPool jobs_;
  bool stopping_ = false;
};

}  // namespace

void run_sweep(const SweepPlan& plan, SweepFolder& folder, const SweepRunOptions& options, SweepObserver& observer) {
  SweepRunner(plan, folder, options, observer).run();
}

}  // namespace kd
