// What the NVIDIA driver says of a GPU. Asked through libcuda's own functions, so that one source builds with and
// without CUDA's headers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kd/api.h"

namespace kd {

struct KD_API GpuFacts {
  std::string name;          ///< "NVIDIA H100 80GB HBM3"
  int major = 0, minor = 0;  ///< compute capability

  /// Whether its matrix units compute in bf16 (Ampere and later).
  bool computes_bf16() const { return major >= 8; }
};

/// Nothing where the driver does not answer. `index` counts the devices that CUDA_VISIBLE_DEVICES leaves.
KD_API std::optional<GpuFacts> gpu_facts(int index);

/// What tells the GPU from all others, on any host: its UUID in hexadecimal digits.
KD_API std::optional<std::string> gpu_uuid(int index);

/// Free memory of the GPU that is in use, in bytes.
KD_API std::optional<std::int64_t> free_gpu_bytes();

}  // namespace kd
