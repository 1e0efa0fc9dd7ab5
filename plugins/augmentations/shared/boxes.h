// Rectangles of pixels, one per sample.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/logical_and.h>

#include <utility>

#include "kd/random_tensors.h"

namespace boxes {

/// Rows top … bottom − 1 and columns left … right − 1; int64, N.
struct Boxes {
  at::Tensor top, bottom, left, right;

  at::Tensor area() const { return (bottom - top) * (right - left); }
};

/// Whether a pixel lies in its image's box: bool, N×1×H×W.
inline at::Tensor inside(const Boxes& boxes, std::int64_t height, std::int64_t width) {
  const auto between = [](const at::Tensor& low, const at::Tensor& high, std::int64_t size) {
    const at::Tensor place = at::arange(size, low.options());
    return at::logical_and(place.ge(low.unsqueeze(1)), place.lt(high.unsqueeze(1)));
  };
  const at::Tensor rows = between(boxes.top, boxes.bottom, height);
  const at::Tensor columns = between(boxes.left, boxes.right, width);
  return at::logical_and(rows.unsqueeze(2), columns.unsqueeze(1)).unsqueeze(1);
}

/// Boxes of `rows`×`columns` pixels (int64, N) about middles that are uniform over the pixels, clipped to the image.
inline Boxes around_random_pixels(kd::RandomKey key, const at::Tensor& index, const at::Tensor& rows,
                                  const at::Tensor& columns, std::int64_t height, std::int64_t width) {
  const auto edges = [&](const char* purpose, const at::Tensor& side, std::int64_t size) {
    const at::Tensor first = kd::random_below(key.with(purpose), index, 1, size).squeeze(1) - side.floor_divide(2);
    return std::pair(first.clamp(0, size), (first + side).clamp(0, size));
  };
  const auto [top, bottom] = edges("row", rows, height);
  const auto [left, right] = edges("column", columns, width);
  return {top, bottom, left, right};
}

}  // namespace boxes
