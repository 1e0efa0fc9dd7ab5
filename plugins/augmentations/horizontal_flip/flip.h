// Two ways to the same bytes: mirror all images, then put back those that are to stay, by copying or by choosing.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/where.h>

#include <cstring>

namespace flip {

/// Images N×C×H×W, mirrored where `flips` (bool, N) holds; on the CPU, where at::where takes ten times as long on
/// bytes.
inline at::Tensor flip_by_copy(const at::Tensor& images, const at::Tensor& flips) {
  const at::Tensor source = images.contiguous();
  const at::Tensor mask = flips.contiguous();
  const at::Tensor result = source.flip(3);
  const bool* flipped = mask.const_data_ptr<bool>();
  const auto* from = static_cast<const char*>(source.const_data_ptr());
  auto* to = static_cast<char*>(result.mutable_data_ptr());
  const std::int64_t bytes = source.stride(0) * static_cast<std::int64_t>(source.element_size());
  for (std::int64_t n = 0; n < source.size(0); ++n) {
    if (!flipped[n]) std::memcpy(to + n * bytes, from + n * bytes, static_cast<std::size_t>(bytes));
  }
  return result;
}

/// The same by tensor operations, on any device.
inline at::Tensor flip_by_choice(const at::Tensor& images, const at::Tensor& flips) {
  return at::where(flips.view({-1, 1, 1, 1}), images.flip(3), images);
}

}  // namespace flip
