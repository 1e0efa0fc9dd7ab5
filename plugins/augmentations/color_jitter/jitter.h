// Changes of colour of float images in [0, 1], N×3×H×W, by a factor per sample, as torchvision does to float tensors.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/amin.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>

namespace jitter {

/// ITU-R 601-2 luma, N×1×H×W.
inline at::Tensor grey(const at::Tensor& images) {
  return images.narrow(1, 0, 1) * 0.2989 + images.narrow(1, 1, 1) * 0.587 + images.narrow(1, 2, 1) * 0.114;
}

/// factor · images + (1 − factor) · base, kept within [0, 1]; `factor` is N×1×1×1.
inline at::Tensor blend(const at::Tensor& images, const at::Tensor& base, const at::Tensor& factor) {
  return (images * factor + base * (1 - factor)).clamp_(0, 1);
}

/// Hue in turns, N×1×H×W: on the side of the colour circle where the greatest channel stands.
inline at::Tensor hue(const at::Tensor& images, const at::Tensor& greatest, const at::Tensor& range) {
  const auto channel = [&](std::int64_t c) { return images.narrow(1, c, 1); };
  const at::Tensor divisor = at::where(range.eq(0), 1.0F, range);
  const auto side = [&](std::int64_t one, std::int64_t other) { return (channel(one) - channel(other)) / divisor; };
  const at::Tensor sixths = at::where(channel(0).eq(greatest), side(1, 2),
                                      at::where(channel(1).eq(greatest), side(2, 0) + 2, side(0, 1) + 4));
  return (sixths / 6).remainder(1);
}

/// Turns the hue by `turns` (N×1×1×1) with saturation and value as they are: channel n of 5, 3, 1 for red, green, blue
/// is v − range · max(0, min(k, 4 − k, 1)) with k = (n + 6 · hue) mod 6.
inline at::Tensor turn_hue(const at::Tensor& images, const at::Tensor& turns) {
  const at::Tensor greatest = images.amax(1, /*keepdim=*/true);
  const at::Tensor range = greatest - images.amin(1, /*keepdim=*/true);
  const at::Tensor turned = (hue(images, greatest, range) + turns) * 6;
  const at::Tensor first = at::arange(5, 0, -2, images.options()).view({1, 3, 1, 1});
  const at::Tensor k = (first + turned).remainder(6);
  return greatest - range * k.minimum(4 - k).clamp(0, 1);
}

}  // namespace jitter
