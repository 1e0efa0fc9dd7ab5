// Memory of the fake CUDA device: memory of the host under addresses at which the host has none, so that it faults
// where it reads them; and pinned memory, which copies need not wait for.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <cstdint>
#include <cstring>
#include <mutex>
#include <set>

namespace fake_cuda {

inline const c10::Device kDevice(c10::kCUDA, 0);

inline constexpr std::uintptr_t kMark = std::uintptr_t{1} << 50;  // no process has memory at such an address

inline void* marked(void* host) {
  return host == nullptr ? nullptr : reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(host) | kMark);
}
inline void* unmarked(const void* device) {
  return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(device) & ~kMark);
}

/// The memory of a storage of the host under a marked address, which keeps the storage alive.
at::DataPtr hand_over(c10::Storage host);

class DeviceAllocator final : public c10::Allocator {
 public:
  at::DataPtr allocate(std::size_t bytes) override {
    if (bytes == 0) return {nullptr, kDevice};
    return hand_over(c10::Storage(c10::Storage::use_byte_size_t(), static_cast<std::int64_t>(bytes),
                                  c10::GetCPUAllocator(), /*resizable=*/true));
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    std::memcpy(unmarked(to), unmarked(from), bytes);
  }
};

/// Memory of the host that copies need not wait for.
class PinnedAllocator final : public c10::Allocator {
 public:
  at::DataPtr allocate(std::size_t bytes) override {
    void* const memory = c10::alloc_cpu(bytes);
    const std::lock_guard lock(mutex());
    blocks().insert(memory);
    return {memory, memory, &release, c10::kCPU};
  }
  at::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }

  static bool holds(const void* memory) {
    const std::lock_guard lock(mutex());
    return blocks().contains(memory);
  }

 private:
  static void release(void* memory) {
    const std::lock_guard lock(mutex());
    blocks().erase(memory);
    c10::free_cpu(memory);
  }
  static std::mutex& mutex() {
    static auto* const one = new std::mutex;
    return *one;
  }
  static std::set<const void*>& blocks() {
    static auto* const all = new std::set<const void*>;
    return *all;
  }
};

DeviceAllocator& device_allocator();
PinnedAllocator& pinned_allocator();

}  // namespace fake_cuda
