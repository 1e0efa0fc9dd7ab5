// device.h without a CUDA header: c10's device-independent guards serve, so one source builds against both wheels.
#include "engine/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>

#include "engine/cuda_driver.h"
#include "kd/diagnostics.h"

namespace kd {
namespace {

/// Value of the first line "key : value" of a /proc file that holds `key`.
std::string proc_value(const char* file, std::string_view key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos && colon + 2 <= line.size()) return line.substr(colon + 2);
  }
  return "";
}

bool processor_computes_bf16() {
  const std::string flags = fmt::format(" {} ", proc_value("/proc/cpuinfo", "flags"));
  return flags.find(" avx512_bf16 ") != std::string::npos || flags.find(" amx_bf16 ") != std::string::npos;
}

}  // namespace

at::Device choose_device(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  const bool cuda = at::hasCUDA() && at::getNumGPUs() > 0;
  if (name == "auto") return cuda ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (!is_device_name(name)) {
    throw RecipeError({}, fmt::format("'{}' is no device", name), "auto, cpu, cuda or cuda:N");
  }
  const int index = name == "cuda" ? 0 : std::stoi(name.substr(5));
  const int count = cuda ? static_cast<int>(at::getNumGPUs()) : 0;
  if (index >= count) {
    throw RecipeError({},
                      fmt::format("device '{}' is not there: this machine has {} CUDA device(s){}", name, count,
                                  at::hasCUDA() || count > 0 ? "" : " that this build of LibTorch can use"),
                      "--device cpu, or device = \"auto\"");
  }
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

void use_own_stream(at::Device device) {
  if (!device.is_cuda()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.setDevice(device);
  guard.exchangeStream(guard.getStreamFromGlobalPool(device));
}

void flush_denormals() { at::globalContext().setFlushDenormal(true); }

void use_deterministic_algorithms(bool deterministic) {
  // cuBLAS wants this before its first call; a value of the user's own is kept.
  if (deterministic) ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
  context.setDeterministicCuDNN(deterministic);
  context.setBenchmarkCuDNN(!deterministic);
}

void allow_tf32(bool allow) {
  at::globalContext().setAllowTF32CuDNN(allow);
  at::globalContext().setAllowTF32CuBLAS(allow);
}

at::ScalarType choose_precision(Precision wanted, at::Device device, bool convolutional) {
  switch (wanted) {
    case Precision::kFp32:
    case Precision::kTf32:
      return at::kFloat;
    case Precision::kBf16:
      return at::kBFloat16;
    case Precision::kFp16:
      return at::kHalf;
    case Precision::kAuto:
      break;
  }
  if (device.is_cuda()) {
    const auto facts = gpu_facts(device.index());
    return !facts || facts->computes_bf16() ? at::kBFloat16 : at::kFloat;
  }
  return convolutional && processor_computes_bf16() ? at::kBFloat16 : at::kFloat;
}

std::string describe_device(at::Device device) {
  if (device.is_cuda()) {
    const std::string name = device_identity(device);
    return name.empty() ? device.str() : fmt::format("{} ({})", device.str(), name);
  }
  return fmt::format("cpu ({}, {} thread(s))", proc_value("/proc/cpuinfo", "model name"), at::get_num_threads());
}

namespace {

double memory_share = 1;

std::int64_t all_free_memory(at::Device device) {
  if (!device.is_cpu()) return free_gpu_bytes().value_or(std::int64_t{4} << 30);
  return std::strtoll(proc_value("/proc/meminfo", "MemAvailable").c_str(), nullptr, 10) * 1024;
}

}  // namespace

std::int64_t free_memory(at::Device device) {
  return static_cast<std::int64_t>(static_cast<double>(all_free_memory(device)) * memory_share);
}

void set_memory_share(double share) { memory_share = share; }

std::string device_identity(at::Device device) {
  const auto facts = device.is_cuda() ? gpu_facts(device.index()) : std::nullopt;
  return facts ? fmt::format("{}, {}.{}", facts->name, facts->major, facts->minor) : "";
}

std::string precision_name(at::ScalarType precision) {
  return precision == at::kFloat ? "fp32" : precision == at::kBFloat16 ? "bf16" : "fp16";
}

at::ScalarType precision_named(const std::string& name) {
  return name == "bf16" ? at::kBFloat16 : name == "fp16" ? at::kHalf : at::kFloat;
}

bool use_channels_last(const TrainSettings& settings, bool convolutional) {
  return settings.channels_last == AutoOnOff::kOn || (settings.channels_last == AutoOnOff::kAuto && convolutional);
}

void synchronize(at::Device device) {
  if (device.is_cuda()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

AutocastGuard::AutocastGuard(at::Device device, at::ScalarType precision, Casts casts)
    : type_(device.type()), active_(precision != at::kFloat) {
  if (!active_) return;
  was_on_ = at::autocast::is_autocast_enabled(type_);
  kept_casts_ = at::autocast::is_autocast_cache_enabled();
  at::autocast::set_autocast_enabled(type_, true);
  at::autocast::set_autocast_dtype(type_, precision);
  at::autocast::set_autocast_cache_enabled(casts == Casts::kOfOnePass);
}

AutocastGuard::~AutocastGuard() {
  if (!active_) return;
  at::autocast::clear_cache();
  at::autocast::set_autocast_cache_enabled(kept_casts_);
  at::autocast::set_autocast_enabled(type_, was_on_);
}

}  // namespace kd
