// How well images of a class find each other by the distance of their features.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <tuple>

#include "kd/diagnostics.h"
#include "kd/tensor.h"

namespace kd::analyses {

/// Means over the images that ask and have another image of their class.
struct Ranking {
  double mean_average_precision;  ///< of the precision at each image of the class, all others ranked; 0 to 1
  double rank_1;                  ///< the share whose nearest image is of their class
  std::int64_t asked;             ///< how many these are
};

/// Rows, N×D, each divided by its Euclidean length; a row of zeros stays.
inline at::Tensor at_unit_length(const at::Tensor& rows) {
  return rows / rows.norm(2, {1}, /*keepdim=*/true).clamp_min(std::numeric_limits<double>::min());
}

/// The images `queries`, places in 0 to N−1, rank all others by the angle between features, double, N×D; of equal
/// ones, the first comes first. Labels int64, N. Throws Error where no image that asks has another of its class.
inline Ranking rank(const at::Tensor& features, const at::Tensor& labels, const at::Tensor& queries) {
  constexpr std::int64_t kBatch = 250;  // matrices of kBatch × N
  const at::Tensor rows = at_unit_length(features);
  double precision = 0, first = 0, asked = 0;
  for (std::int64_t begin = 0; begin < queries.size(0); begin += kBatch) {
    if (rows.size(0) < 2) break;
    const at::Tensor batch = queries.narrow(0, begin, std::min(kBatch, queries.size(0) - begin));
    const at::Tensor likeness = at::matmul(rows.index_select(0, batch), rows.t());
    likeness.scatter_(1, batch.unsqueeze(1), -std::numeric_limits<double>::infinity());  // itself comes last
    const at::Tensor order =
        std::get<1>(likeness.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true)).narrow(1, 0, rows.size(0) - 1);
    const at::Tensor hits = labels.index_select(0, order.flatten())
                                .view_as(order)
                                .eq(labels.index_select(0, batch).unsqueeze(1))
                                .to(at::kDouble);
    const at::Tensor places = at::arange(1, order.size(1) + 1, at::kDouble);
    const at::Tensor count = hits.sum(1), found = count.gt(0).to(at::kDouble);
    precision += (hits.cumsum(1) / places * hits).sum(1).div(count.clamp_min(1)).sum().item<double>();
    first += hits.select(1, 0).sum().item<double>();
    asked += found.sum().item<double>();
  }
  if (asked == 0) throw Error("no image that asks has another of its class to be found");
  return {precision / asked, first / asked, static_cast<std::int64_t>(asked)};
}

}  // namespace kd::analyses
