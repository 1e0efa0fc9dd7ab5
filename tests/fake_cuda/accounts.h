// What the fake CUDA device counts: operators, the kernels they stand for, waits of the host, and bytes of device
// memory.
#pragma once

#include <c10/core/Stream.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string>

namespace fake_cuda {

/// The stream that is current in this thread; 0 is the default stream.
extern thread_local c10::StreamId current_stream;

/// Writes them to the file that FAKE_CUDA_REPORT names when the process ends: a line of sums, and with FAKE_CUDA_EVENTS
/// a line "kind kernels name" for each operator (o), view (v) and wait (w).
class Accounts {
 public:
  void add_operator(const std::string& name, std::int64_t kernels) {
    const std::lock_guard lock(mutex_);
    ++operators_;
    kernels_ += kernels;
    if (own_stream_ && current_stream == 0) ++on_default_stream_;
    note('o', kernels, name);
  }
  void add_view(const std::string& name) {
    const std::lock_guard lock(mutex_);
    ++views_;
    note('v', 0, name);
  }
  void add_wait(const std::string& why) {
    const std::lock_guard lock(mutex_);
    ++waits_;
    note('w', 0, why);
  }
  void add_bytes(std::int64_t change) {
    const std::lock_guard lock(mutex_);
    bytes_ += change;
    most_bytes_ = std::max(most_bytes_, bytes_);
  }
  void use_own_stream() { own_stream_ = true; }

  void write();

 private:
  void note(char kind, std::int64_t kernels, const std::string& name) {
    if (keep_events_) events_ += std::string(1, kind) + ' ' + std::to_string(kernels) + ' ' + name + '\n';
  }

  std::mutex mutex_;
  std::int64_t operators_ = 0, kernels_ = 0, views_ = 0, waits_ = 0, on_default_stream_ = 0;
  std::int64_t bytes_ = 0, most_bytes_ = 0;  // of device memory, alive
  std::string events_;
  const bool keep_events_ = std::getenv("FAKE_CUDA_EVENTS") != nullptr;
  std::atomic<bool> own_stream_ = false;
};

/// Of this process; never destroyed, since tensors outlive static objects.
Accounts& accounts();

}  // namespace fake_cuda
