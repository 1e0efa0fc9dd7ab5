// Normal numbers for every pixel, keyed by sample.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <vector>

#include "kd/random_tensors.h"

namespace noise {

/// Standard normal numbers, float, in the shape of `images`.
inline at::Tensor normal_like(const at::Tensor& images, kd::RandomKey key, const at::Tensor& index) {
  constexpr std::int64_t kLanes = 1 << 14;  // a sample has 2^16 lanes under one key, and a normal number takes two
  const std::int64_t pixels = images.numel() / images.size(0);
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < pixels; first += kLanes) {
    parts.push_back(
        kd::random_normal(key.with(static_cast<std::uint64_t>(first)), index, std::min(kLanes, pixels - first)));
  }
  return at::cat(parts, 1).view(images.sizes());
}

}  // namespace noise
