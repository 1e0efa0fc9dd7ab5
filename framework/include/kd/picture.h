// Pictures as PNG, for what analyses write.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "kd/api.h"

namespace kd {

/// The bytes of a PNG file of a picture, uint8 C×H×W with one channel (grey) or three (RGB). Throws kd::Error where
/// that fails.
KD_API std::string encode_png(const at::Tensor& picture);

}  // namespace kd
