// The safetensors format: an 8-byte little-endian header length, a JSON header, raw data.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include "kd/api.h"

namespace kd {

using TensorMap = std::map<std::string, at::Tensor>;

/// Writes the tensors, whole or not at all. They may be on any device and in any memory order.
KD_API void write_safetensors(const std::filesystem::path& file, const TensorMap& tensors,
                              const std::map<std::string, std::string>& metadata = {});

/// Reads every tensor, on the CPU. Throws kd::FileError where the file is truncated, damaged or of another format.
KD_API TensorMap read_safetensors(const std::filesystem::path& file);

}  // namespace kd
