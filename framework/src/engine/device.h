// The device of a run: which one, in what precision, on what stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "kd/api.h"
#include "recipe/plan.h"

namespace kd {

/// The device that "auto", "cpu", "cuda" or "cuda:N" means here. Throws RecipeError where there is no such device.
KD_API at::Device choose_device(const std::string& name);

/// Makes one non-default stream of a CUDA device current for the rest of the process: everything of a run happens on
/// it. Mixing streams is what breaks graph capture. Does nothing on the CPU.
KD_API void use_own_stream(at::Device device);

/// Makes this thread and those it starts treat numbers below 1e-38 as zero. The moments of weights without gradient,
/// such as those of MNIST's border, decay into that range, where a processor computes up to a hundred times slower.
KD_API void flush_denormals();

/// Whether the device gives the same bits every time, at some cost; else cuDNN tries its algorithms and takes the
/// quickest.
KD_API void use_deterministic_algorithms(bool deterministic);

/// Float, BFloat16 or Half. `kAuto` is bf16 where the device computes in it: a GPU of compute capability 8.0, or a
/// processor with AVX-512 BF16 or AMX for convolutional networks; elsewhere fp32 (on AVX2, bf16 is ten times slower).
KD_API at::ScalarType choose_precision(Precision wanted, at::Device device, bool convolutional);

/// Whether matrix products and convolutions of fp32 numbers on a GPU may round them to TF32. LibTorch lets cuDNN do so
/// unasked.
KD_API void allow_tf32(bool allow);

/// "fp32", "bf16" or "fp16", and back; "tf32" is a way to compute with fp32 numbers.
KD_API std::string precision_name(at::ScalarType precision);
KD_API at::ScalarType precision_named(const std::string& name);

/// Whether images lie channels-last in memory: as the settings say, or where the networks are convolutional.
KD_API bool use_channels_last(const TrainSettings& settings, bool convolutional);

/// "cpu (AMD EPYC …, 2 threads)" or "cuda:0 (NVIDIA …)".
KD_API std::string describe_device(at::Device device);

/// Bytes that are free on it: of a GPU what its driver says, 4 GiB where it says nothing; of the CPU what the system
/// could give to programs. Of that the share of this process.
KD_API std::int64_t free_memory(at::Device device);
/// The share, in (0, 1], of the free memory that this process takes for its own: others run beside it.
KD_API void set_memory_share(double share);

/// What results on this device depend on beside its type: the name of a GPU.
KD_API std::string device_identity(at::Device device);

/// Waits for everything that was started on the device, so that a clock read next is honest.
KD_API void synchronize(at::Device device);

/// Runs matrix products of this thread in another precision while it lives.
class KD_API AutocastGuard {
 public:
  /// Whether casts of weights are kept until the end: for one pass of a network, whose weights stay as they are. A cast
  /// without gradient would be found by a later pass that wants one.
  enum class Casts { kOfOnePass, kMadeAnew };

  AutocastGuard(at::Device device, at::ScalarType precision, Casts casts = Casts::kOfOnePass);
  ~AutocastGuard();
  AutocastGuard(const AutocastGuard&) = delete;
  AutocastGuard& operator=(const AutocastGuard&) = delete;

 private:
  at::DeviceType type_;
  bool active_, was_on_ = false, kept_casts_ = false;
};

}  // namespace kd
