// memory.h
#include "memory.h"

#include "accounts.h"

namespace fake_cuda {

at::DataPtr hand_over(c10::Storage host) {
  void* const memory = host.mutable_data();
  accounts().add_bytes(static_cast<std::int64_t>(host.nbytes()));
  const auto release = [](void* owner) {
    auto* const dying = static_cast<c10::Storage*>(owner);
    accounts().add_bytes(-static_cast<std::int64_t>(dying->nbytes()));
    delete dying;
  };
  return {marked(memory), new c10::Storage(std::move(host)), release, kDevice};
}

DeviceAllocator& device_allocator() {
  static auto* const one = new DeviceAllocator;
  return *one;
}

PinnedAllocator& pinned_allocator() {
  static auto* const one = new PinnedAllocator;
  return *one;
}

}  // namespace fake_cuda
