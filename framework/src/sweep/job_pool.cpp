// job_pool.h
#include "sweep/job_pool.h"

#include <poll.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace kd {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBetweenLooks = 100;  // milliseconds

}  // namespace

JobPool::JobPool(std::size_t most, std::vector<std::string> devices,
                 std::function<void(std::size_t, const nlohmann::json&)> told,
                 std::function<void(const EndedJob&)> ended)
    : most_(most), devices_(std::move(devices)), told_(std::move(told)), ended_(std::move(ended)) {}

std::size_t JobPool::free_slot() const {
  std::size_t slot = 0;
  while (std::any_of(jobs_.begin(), jobs_.end(), [&](const Job& job) { return job.slot == slot; })) ++slot;
  return slot;
}

void JobPool::start(std::size_t id, std::vector<std::string> command, const std::filesystem::path& log) {
  const std::size_t slot = free_slot();
  if (!devices_.empty()) command.insert(command.end(), {"--device", devices_[slot % devices_.size()]});
  Job job{id, slot, nullptr, Clock::now(), log, std::filesystem::exists(log) ? std::filesystem::file_size(log) : 0};
  job.process = std::make_unique<ChildProcess>(ChildOptions{std::move(command), log, share_of_cores(slot, most_)});
  jobs_.push_back(std::move(job));
}

void JobPool::wait() {
  std::vector<pollfd> descriptors;
  for (const Job& job : jobs_) descriptors.push_back({job.process->descriptor(), POLLIN, 0});
  const auto woken = Clock::now();
  ::poll(descriptors.data(), descriptors.size(), kBetweenLooks);
  for (const Job& job : jobs_) listen(job);
  for (std::size_t i = 0; i < jobs_.size();) {
    const auto status = jobs_[i].process->exit_status();
    if (!status) {
      ++i;
      continue;
    }
    listen(jobs_[i]);
    const Job job = std::move(jobs_[i]);
    jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(i));
    ended_({job.id, *status, std::chrono::duration<double>(Clock::now() - job.begin).count(), job.log, job.log_begin});
  }
  // A pipe whose writer has closed it wakes poll() at once, until its process has ended.
  if (Clock::now() - woken < std::chrono::milliseconds(1)) ::poll(nullptr, 0, 10);
}

void JobPool::listen(const Job& job) const {
  for (const std::string& line : job.process->read_lines()) {
    const auto event = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (event.is_object()) told_(job.id, event);
  }
}

void JobPool::ask_to_stop() {
  for (Job& job : jobs_) job.process->ask_to_stop();
}

}  // namespace kd
