// t-SNE (van der Maaten and Hinton, JMLR 2008), exact: matrices of all pairs of points. The schedule of its gradient
// descent and its start are those of scikit-learn, and so are the measures of a map: neighbours and trustworthiness.
#pragma once

#include <ATen/ops/linalg_eigh.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kd/tensor.h"

namespace kd::analyses {

/// N×N distances of rows, double.
inline at::Tensor pair_distances(const at::Tensor& rows) {
  constexpr std::int64_t kExactly = 2;  // without a product of matrices, which would lose what is near
  const at::Tensor precise = rows.to(at::kDouble);
  return at::cdist(precise, precise, 2, kExactly);
}

/// The directions in which rows vary most, at most `count`: N×count, double. Of each direction, the largest component
/// is positive, so that it does not depend on how it was found.
inline at::Tensor principal_components(const at::Tensor& rows, std::int64_t count) {
  const at::Tensor centred = (rows - rows.mean(0, true)).to(at::kDouble);
  const at::Tensor all = std::get<1>(at::linalg_eigh(at::matmul(centred.t(), centred)));  // the largest comes last
  const std::int64_t kept = std::min(count, all.size(1));
  const at::Tensor directions = all.narrow(1, all.size(1) - kept, kept).flip(1);
  const at::Tensor largest = directions.gather(0, directions.abs().argmax(0, true));
  return at::matmul(centred, directions * largest.sign());
}

/// Of each point (row), how likely it takes each other for its neighbour: normal densities of such widths that every
/// row has this perplexity, exp of its entropy. The widths are found by bisection.
inline at::Tensor neighbour_probabilities(const at::Tensor& distances, double perplexity) {
  // Of the exponent's factor, in units of a row's mean: as good as uniform at the low end, and the nearest alone at the
  // high one.
  constexpr double kLow = 1e-3, kHigh = 1e12;
  constexpr int kSteps = 50;
  const at::Tensor squares = distances.square();
  const at::Tensor scaled = squares / squares.mean(1, true).clamp_min(std::numeric_limits<double>::min());
  const at::Tensor nearest = scaled.clone().fill_diagonal_(std::numeric_limits<double>::infinity()).amin(1, true);
  const at::Tensor from_nearest = scaled - nearest;
  at::Tensor low = at::full_like(scaled.narrow(1, 0, 1), std::log(kLow)), high = at::full_like(low, std::log(kHigh));
  at::Tensor p;
  for (int step = 0; step < kSteps; ++step) {
    const at::Tensor middle = (low + high) / 2, factor = middle.exp();
    p = (from_nearest * -factor).exp_().fill_diagonal_(0);
    const at::Tensor sum = p.sum(1, true);
    p.div_(sum);
    const at::Tensor entropy = sum.log() + factor * (p * from_nearest).sum(1, true);
    const at::Tensor wide = entropy.gt(std::log(perplexity));
    low = at::where(wide, middle, low);
    high = at::where(wide, high, middle);
  }
  return p;
}

/// Both ways, over all pairs: N×N, of sum 1.
inline at::Tensor joint_probabilities(const at::Tensor& distances, double perplexity) {
  const at::Tensor p = neighbour_probabilities(distances, perplexity);
  return (p + p.t()).div_(2 * static_cast<double>(p.size(0))).clamp_min_(std::numeric_limits<double>::epsilon());
}

/// 1 / (1 + d²) of the points of a map, N×2, and 0 of a point with itself.
inline at::Tensor student_kernel(const at::Tensor& map) {
  const at::Tensor squares = map.square().sum(1, true), ones = at::ones_like(squares);
  // One product of matrices gives 1 + |x|² + |y|² − 2xy.
  return at::matmul(at::cat({map * -2, squares + 1, ones}, 1), at::cat({map, ones, squares}, 1).t())
      .reciprocal_()
      .fill_diagonal_(0);
}

/// KL of the pairs' probabilities from those of the map, in nats.
inline double divergence(const at::Tensor& p, const at::Tensor& map) {
  constexpr double kLeast = std::numeric_limits<double>::epsilon();
  const at::Tensor kernel = student_kernel(map.to(at::kDouble));
  const at::Tensor ratio = p / (kernel / kernel.sum()).clamp_min(kLeast);
  return (p * ratio.log()).fill_diagonal_(0).sum().item<double>();
}

/// Its gradient by the points of the map: N×2.
inline at::Tensor divergence_gradient(const at::Tensor& p, const at::Tensor& map) {
  const at::Tensor kernel = student_kernel(map);
  const at::Tensor forces = p.sub(kernel, 1 / kernel.sum().item<double>()).mul_(kernel);
  const at::Tensor sums = at::matmul(forces, at::cat({map, at::ones_like(map.narrow(1, 0, 1))}, 1));
  return (map * sums.narrow(1, 2, 1) - sums.narrow(1, 0, 2)) * 4;
}

struct TsneSettings {
  double perplexity = 30;
  std::int64_t iterations = 1000;
};

/// A map in the plane of points that are given by the probabilities of their pairs, from a start, both N×2. In single
/// precision, which halves the time, and the descent forgives.
inline at::Tensor descend(const at::Tensor& p, const at::Tensor& start, std::int64_t iterations) {
  constexpr double kExaggeration = 12, kLeastGain = 0.01;
  constexpr std::int64_t kEarly = 250;  // iterations with exaggeration
  const double rate = std::max(static_cast<double>(p.size(0)) / kExaggeration / 4, 50.0);
  const at::Tensor pairs = p.to(at::kFloat), exaggerated = pairs * kExaggeration;
  at::Tensor map = start.to(at::kFloat), step = at::zeros_like(map), gains = at::ones_like(map);
  for (std::int64_t i = 0; i < iterations; ++i) {
    const bool early = i < kEarly;
    const at::Tensor gradient = divergence_gradient(early ? exaggerated : pairs, map);
    gains = at::where((step * gradient).lt(0), gains + 0.2, gains * 0.8).clamp_min_(kLeastGain);
    step = step * (early ? 0.5 : 0.8) - gains * gradient * rate;
    map = map + step;
    map = map - map.mean(0, true);
  }
  return map.to(at::kDouble);
}

struct TsneMap {
  at::Tensor points;  ///< N×2, double
  double kl;          ///< in nats
};

/// Of rows N×D, more than three times as many as the perplexity.
inline TsneMap embed(const at::Tensor& rows, const TsneSettings& settings) {
  constexpr std::int64_t kDirections = 50;
  constexpr double kStart = 1e-4;  // deviation of the first coordinate
  const at::Tensor reduced = principal_components(rows, kDirections);
  const at::Tensor p = joint_probabilities(pair_distances(reduced), settings.perplexity);
  const at::Tensor plane = at::constant_pad_nd(reduced, {0, 1}).narrow(1, 0, 2);
  const at::Tensor deviation = plane.select(1, 0).std(/*unbiased=*/false);
  const at::Tensor map =
      descend(p, plane * (kStart / deviation.clamp_min(std::numeric_limits<double>::min())), settings.iterations);
  return {map, divergence(p, map)};
}

/// The nearest other points of each, nearest first: int64, N×count.
inline at::Tensor nearest(const at::Tensor& points, std::int64_t count) {
  const at::Tensor distances = pair_distances(points).fill_diagonal_(std::numeric_limits<double>::infinity());
  return std::get<1>(distances.topk(count, 1, /*largest=*/false));
}

/// How far the map's neighbours are neighbours in truth (Venna and Kaski, 2001), from `neighbours` of nearest(), fewer
/// than half of the points: 1 where they all are among as many nearest ones.
inline double trustworthiness(const at::Tensor& rows, const at::Tensor& neighbours) {
  const std::int64_t n = rows.size(0), k = neighbours.size(1);
  const at::Tensor order = pair_distances(rows).fill_diagonal_(-1).argsort(/*stable=*/true, 1);
  const at::Tensor ranks = at::empty_like(order).scatter_(1, order, at::arange(n, at::kLong).expand({n, n}));
  const double excess = (ranks.gather(1, neighbours) - k).clamp_min(0).sum().item<double>();
  return 1 - 2 * excess / static_cast<double>(n * k * (2 * n - 3 * k - 1));
}

}  // namespace kd::analyses
