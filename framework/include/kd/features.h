// What losses on features share. Maps are N×C×H×W, vectors N×D; everything is differentiable.
#pragma once

#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mse_loss.h>

#include <algorithm>
#include <utility>

#include "kd/batch.h"
#include "kd/diagnostics.h"
#include "kd/logits.h"

namespace kd {

/// Channels of a map, or the width of a vector, from a shape of TapShapes.
inline std::int64_t channels(const std::vector<std::int64_t>& shape) { return shape.at(0); }

/// The shape of the feature `tap`, which a loss names by its parameter. Throws RecipeError that lists what there is.
inline const std::vector<std::int64_t>& shape_of(const TapShapes& shapes, const std::string& tap,
                                                 const std::string& whose) {
  const auto found = shapes.find(tap);
  if (found != shapes.end()) return found->second;
  std::vector<std::string> offered;
  for (const auto& [name, shape] : shapes) offered.push_back(name);
  throw RecipeError({}, "the " + whose + " has no feature '" + tap + "'", name_hint(tap, offered, "it offers"));
}

/// Mean of (a − b)² over all numbers, in fp32 whatever the stage's precision.
inline at::Tensor mean_square(const at::Tensor& a, const at::Tensor& b) { return at::mse_loss(precise(a), precise(b)); }

/// Vectors of a feature: N×(C·H·W) of maps, vectors as they are.
inline at::Tensor flat(const at::Tensor& feature) { return feature.flatten(1); }

/// `map` averaged over regions, so that it is height×width; as it is where it has that size.
inline at::Tensor pooled_to(const at::Tensor& map, std::int64_t height, std::int64_t width) {
  return map.size(2) == height && map.size(3) == width ? map : at::adaptive_avg_pool2d(map, {height, width});
}

/// Both maps at the smaller one's height and width, the larger averaged over its regions.
inline std::pair<at::Tensor, at::Tensor> at_common_size(const at::Tensor& a, const at::Tensor& b) {
  const std::int64_t height = std::min(a.size(2), b.size(2)), width = std::min(a.size(3), b.size(3));
  return {pooled_to(a, height, width), pooled_to(b, height, width)};
}

/// Each row of N×D divided by its L2 norm, or by 1e-12 where that is larger: a row of zeros stays one.
inline at::Tensor unit_rows(const at::Tensor& rows) {
  constexpr double kLeastNorm = 1e-12;  // as torch.nn.functional.normalize
  const at::Tensor squares = rows.square().sum(1, true);
  return rows * squares.clamp_min(kLeastNorm * kLeastNorm).rsqrt();
}

/// N×N inner products of the rows of N×D, in fp32 whatever the stage's precision.
inline at::Tensor gram(const at::Tensor& rows) {
  const WithoutAutocast exact(rows.device());
  const at::Tensor precise_rows = precise(rows);
  return at::matmul(precise_rows, precise_rows.t());
}

/// N×N squared distances of the rows of N×D, 0 on the diagonal and elsewhere at least `least`, by one matrix product.
/// Of rows less their mean: the differences of large numbers that it takes would otherwise lose what is small.
inline at::Tensor squared_distances(const at::Tensor& rows, double least = 1e-12) {
  const at::Tensor products = gram(rows - rows.mean(0, true));
  const at::Tensor squares = products.diagonal();
  const at::Tensor distances = squares.unsqueeze(0) + squares.unsqueeze(1) - products * 2;
  return distances.clamp_min(least).tril(-1) + distances.clamp_min(least).triu(1);
}

}  // namespace kd
