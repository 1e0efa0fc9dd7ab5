// Threads that read and decode images while the networks compute.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "kd/api.h"

namespace kd {

/// Runs tasks on its own threads, in the order in which they came. Tasks throw nothing.
class KD_API WorkerPool {
 public:
  explicit WorkerPool(std::size_t threads);
  /// Tasks that were not begun are dropped.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void add(std::function<void()> task);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool ends_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace kd
