// cuda_driver.h
#include "engine/cuda_driver.h"

#include <dlfcn.h>
#include <fmt/ranges.h>

#include <array>
#include <cstddef>

namespace kd {
namespace {

// Of the driver API's header cuda.h; its binary interface does not change.
constexpr int kSuccess = 0, kMajorAttribute = 75, kMinorAttribute = 76;

/// A function of libcuda, or null. The library is never closed: LibTorch uses it too.
template <class Function>
Function driver_function(const char* name) {
  static void* const library = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  return library == nullptr ? nullptr : reinterpret_cast<Function>(::dlsym(library, name));
}

/// What the driver calls a GPU by.
std::optional<int> find_device(int index) {
  const auto init = driver_function<int (*)(unsigned)>("cuInit");
  const auto get = driver_function<int (*)(int*, int)>("cuDeviceGet");
  int device = 0;
  if (init == nullptr || get == nullptr || init(0) != kSuccess || get(&device, index) != kSuccess) return std::nullopt;
  return device;
}

}  // namespace

std::optional<GpuFacts> gpu_facts(int index) {
  const auto get_name = driver_function<int (*)(char*, int, int)>("cuDeviceGetName");
  const auto get_attribute = driver_function<int (*)(int*, int, int)>("cuDeviceGetAttribute");
  const auto device = find_device(index);
  if (!device || get_name == nullptr || get_attribute == nullptr) return std::nullopt;
  std::array<char, 256> name{};
  GpuFacts facts;
  const bool answered = get_name(name.data(), static_cast<int>(name.size()) - 1, *device) == kSuccess &&
                        get_attribute(&facts.major, kMajorAttribute, *device) == kSuccess &&
                        get_attribute(&facts.minor, kMinorAttribute, *device) == kSuccess;
  if (!answered) return std::nullopt;
  facts.name = name.data();
  return facts;
}

std::optional<std::string> gpu_uuid(int index) {
  std::array<unsigned char, 16> bytes{};
  const auto get_uuid = driver_function<int (*)(unsigned char*, int)>("cuDeviceGetUuid_v2");
  const auto device = find_device(index);
  if (!device || get_uuid == nullptr || get_uuid(bytes.data(), *device) != kSuccess) return std::nullopt;
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

std::optional<std::int64_t> free_gpu_bytes() {
  const auto get = driver_function<int (*)(std::size_t*, std::size_t*)>("cuMemGetInfo_v2");
  std::size_t free = 0, total = 0;
  if (get == nullptr || get(&free, &total) != kSuccess) return std::nullopt;
  return static_cast<std::int64_t>(free);
}

}  // namespace kd
