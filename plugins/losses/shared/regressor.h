// The convolution that brings a student's map to a teacher's shape, chosen by both shapes as RepDistiller does: shared
// by the losses "fitnet" and "ab".
#pragma once

#include <cstdint>
#include <vector>

#include "kd/adapters.h"

namespace regressor {

/// The convolution for the heights and widths of both maps: halving by 3×3 with stride 2, doubling by a transposed 4×4
/// with stride 2, else shrinking by a kernel as large as the difference. A student's map that is smaller in another
/// ratio keeps its size: the teacher's is then averaged to it by the loss.
inline kd::Layers& add_convolution(kd::Layers& layers, const std::vector<std::int64_t>& student,
                                   const std::vector<std::int64_t>& teacher) {
  const std::int64_t in = student[0], out = teacher[0], from = student[1], to = teacher[1];
  if (from == 2 * to) return layers.convolution(in, out, {.kernel = 3, .stride = 2, .padding = 1});
  if (2 * from == to) return layers.transposed_convolution(in, out, {.kernel = 4, .stride = 2, .padding = 1});
  return layers.convolution(in, out, {.kernel = from > to ? 1 + from - to : 1});
}

/// That and a batch norm, and an activation where `relu`.
inline kd::Layers make(kd::Layers layers, const std::vector<std::int64_t>& student,
                       const std::vector<std::int64_t>& teacher, bool relu) {
  add_convolution(layers, student, teacher).batch_norm(teacher[0]);
  if (relu) layers.relu();
  return layers;
}

}  // namespace regressor
