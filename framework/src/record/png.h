// Pictures as PNG files.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>

#include "kd/api.h"

namespace kd {

/// Writes a picture, uint8 C×H×W with one channel (grey) or three (RGB), whole or not at all. Throws kd::Error where
/// that fails.
KD_API void write_png(const std::filesystem::path& file, const at::Tensor& picture);

}  // namespace kd
