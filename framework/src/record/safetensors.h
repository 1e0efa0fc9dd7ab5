// The safetensors format: an 8-byte little-endian header length, a JSON header, raw data.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "kd/api.h"

namespace kd {

using TensorMap = std::map<std::string, at::Tensor>;

/// Writes the tensors, whole or not at all. They may be on any device and in any memory order.
KD_API void write_safetensors(const std::filesystem::path& file, const TensorMap& tensors,
                              const std::map<std::string, std::string>& metadata = {});

/// The bytes of such a file.
KD_API std::string to_safetensors(const TensorMap& tensors, const std::map<std::string, std::string>& metadata = {});

/// Reads what to_safetensors() gave, on the CPU. Throws kd::FileError that names `source`, as "FILE", where the bytes
/// are cut off, damaged or of another format.
KD_API TensorMap from_safetensors(std::string_view bytes, const std::string& source);

/// Reads every tensor, on the CPU. Throws kd::FileError where the file is truncated, damaged or of another format.
KD_API TensorMap read_safetensors(const std::filesystem::path& file);

}  // namespace kd
