// The device "cuda:0" as LibTorch asks for it: guards, streams, events and hooks.
//
// With this library preloaded, LibTorch's CPU build has one CUDA device whose operators run on the processor, and
// everything that asks is_cuda() takes its CUDA path. With a CUDA build it must not be loaded: it would register
// kernels twice.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <atomic>
#include <utility>

#include "accounts.h"
#include "memory.h"

namespace fake_cuda {
namespace {

c10::Stream stream(c10::StreamId id) { return c10::Stream(c10::Stream::UNSAFE, kDevice, id); }

/// Everything is done as soon as it is asked for, so that no event is ever waited for.
class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return kDevice.type(); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  c10::Device getDevice() const override { return kDevice; }
  c10::Device exchangeDevice(c10::Device device) const override { return setDevice(device), kDevice; }
  void setDevice(c10::Device device) const override { TORCH_CHECK(device.index() <= 0, "there is no ", device); }
  void uncheckedSetDevice(c10::Device) const noexcept override {}

  c10::Stream getStream(c10::Device) const override { return stream(current_stream); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(0); }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override { return getNewStream(kDevice, 0); }
  c10::Stream getNewStream(c10::Device, int) const override {
    static std::atomic<c10::StreamId> last{0};
    return stream(++last);
  }
  c10::Stream exchangeStream(c10::Stream next) const override {
    if (next.id() != 0) accounts().use_own_stream();
    return stream(std::exchange(current_stream, next.id()));
  }

  bool queryStream(const c10::Stream&) const override { return true; }
  bool queryEvent(void*) const override { return true; }
  void record(void** event, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {
    *event = marked(event);
  }
  void block(void*, const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override { accounts().add_wait("synchronizeEvent"); }
  void synchronizeStream(const c10::Stream&) const override { accounts().add_wait("synchronizeStream"); }
  void synchronizeDevice(c10::DeviceIndex) const override { accounts().add_wait("synchronizeDevice"); }
};

struct Hooks final : at::CUDAHooksInterface {
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  int getNumGPUs() const override { return 1; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex current_device() const override { return 0; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    static auto* const generator = new at::Generator(at::detail::createCPUGenerator());
    return *generator;
  }
  bool isPinnedPtr(const void* memory) const override { return PinnedAllocator::holds(memory); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator(); }
  c10::Allocator* getCUDADeviceAllocator() const override { return &device_allocator(); }
  void deviceSynchronize(c10::DeviceIndex) const override { accounts().add_wait("deviceSynchronize"); }
};

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

struct Registration {
  Registration() {
    c10::SetAllocator(c10::kCUDA, &device_allocator());
    at::CUDAHooksRegistry()->Register("CUDAHooks", [](at::CUDAHooksArgs) { return std::make_unique<Hooks>(); });
  }
  ~Registration() { accounts().write(); }
} registration;

}  // namespace
}  // namespace fake_cuda
