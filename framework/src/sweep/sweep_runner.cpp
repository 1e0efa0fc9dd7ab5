// sweep_runner.h
#include "sweep/sweep_runner.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "kd/diagnostics.h"
#include "sweep/child_process.h"

namespace kd {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBetweenLooks = 100;  // milliseconds

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

struct Job {
  std::size_t point, slot;
  std::unique_ptr<ChildProcess> process;
  Clock::time_point begin;
  std::uintmax_t log_begin;
};

class SweepRunner {
 public:
  SweepRunner(const SweepPlan& plan, SweepFolder& folder, const SweepRunOptions& options, SweepObserver& observer)
      : plan_(plan), folder_(folder), options_(options), observer_(observer), stages_(plan) {}

  void run() {
    folder_.write();
    while (true) {
      if (options_.stop() && !stopping_) stop();
      while (!stopping_ && start_next()) {
      }
      if (jobs_.empty()) break;
      wait();
      observer_.waited();
    }
    folder_.write();
  }

 private:
  PointState& state(std::size_t point) { return folder_.states()[point]; }

  /// Starts a point where there is a place for it and one that need not wait for another.
  bool start_next() {
    if (jobs_.size() >= options_.jobs) return false;
    for (std::size_t point = 0; point < plan_.points.size(); ++point) {
      if (state(point).status != PointStatus::kWaiting || !stages_.are_free(point)) continue;
      start(point);
      return true;
    }
    return false;
  }

  void start(std::size_t point) {
    Job job{point, free_slot(), nullptr, Clock::now(), 0};
    std::vector<std::string> command = options_.command;
    command.insert(command.end(), {"--expect", resolved_digest(plan_.points[point].plan)});
    for (const std::string& text : plan_.points[point].overrides()) command.push_back(text);
    if (!options_.devices.empty()) {
      command.emplace_back("--device");
      command.push_back(options_.devices[job.slot % options_.devices.size()]);
    }
    const std::filesystem::path log = folder_.log_file(point);
    job.log_begin = std::filesystem::exists(log) ? std::filesystem::file_size(log) : 0;
    job.process = std::make_unique<ChildProcess>(ChildOptions{command, log, share_of_cores(job.slot, options_.jobs)});
    stages_.claim(point);
    state(point) = {.status = PointStatus::kRunning, .reason = {}, .run = {}, .seconds = 0};
    jobs_.push_back(std::move(job));
    observer_.started(point);
  }

  std::size_t free_slot() const {
    std::size_t slot = 0;
    while (std::any_of(jobs_.begin(), jobs_.end(), [&](const Job& job) { return job.slot == slot; })) ++slot;
    return slot;
  }

  void wait() {
    std::vector<pollfd> descriptors;
    for (const Job& job : jobs_) descriptors.push_back({job.process->descriptor(), POLLIN, 0});
    const auto woken = Clock::now();
    ::poll(descriptors.data(), descriptors.size(), kBetweenLooks);
    for (Job& job : jobs_) listen(job);
    for (std::size_t i = 0; i < jobs_.size();) {
      const auto status = jobs_[i].process->exit_status();
      if (!status) {
        ++i;
        continue;
      }
      listen(jobs_[i]);
      const Job job = std::move(jobs_[i]);
      jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(i));
      end(job, *status);
    }
    // A pipe whose writer has closed it wakes poll() at once, until its process has ended.
    if (Clock::now() - woken < std::chrono::milliseconds(1)) ::poll(nullptr, 0, 10);
  }

  void listen(Job& job) {
    for (const std::string& line : job.process->read_lines()) {
      const auto event = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!event.is_object()) continue;
      const std::string kind = event.value("event", "");
      if (kind == "run") state(job.point).run = event.value("folder", "");
      if (kind == "stage") stages_.finish(job.point, event.value("stage", ""));
      observer_.told(job.point, event);
    }
  }

  void end(const Job& job, int status) {
    PointState& point = state(job.point);
    point.seconds = std::chrono::duration<double>(Clock::now() - job.begin).count();
    stages_.release(job.point);
    if (status == static_cast<int>(ExitCode::kOk)) {
      point.status = PointStatus::kDone;
    } else if (status == static_cast<int>(ExitCode::kResumable) || stopping_) {
      point.status = PointStatus::kStopped;
    } else {
      point.status = PointStatus::kFailed;
      point.reason = reason_of(status, folder_.log_file(job.point), job.log_begin);
    }
    folder_.write();
    observer_.ended(job.point);
  }

  void stop() {
    stopping_ = true;
    for (Job& job : jobs_) job.process->ask_to_stop();
  }

  const SweepPlan& plan_;
  SweepFolder& folder_;
  const SweepRunOptions& options_;
  SweepObserver& observer_;
  SharedStages stages_;
  std::vector<Job> jobs_;
  bool stopping_ = false;
};

}  // namespace

void run_sweep(const SweepPlan& plan, SweepFolder& folder, const SweepRunOptions& options, SweepObserver& observer) {
  SweepRunner(plan, folder, options, observer).run();
}

}  // namespace kd
