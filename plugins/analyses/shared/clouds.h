// Points in a plane as a figure shows them: a cloud for each group, on axes that stretch no direction.
#pragma once

#include <string>
#include <vector>

#include "kd/figure.h"
#include "kd/tensor.h"

namespace kd::analyses {

/// A curve of points for each group, in the order of `names`: points double, N×2, groups int64, N.
inline std::vector<Mark> clouds(const at::Tensor& points, const at::Tensor& groups,
                                const std::vector<std::string>& names) {
  std::vector<Mark> marks;
  for (std::size_t g = 0; g < names.size(); ++g) {
    const at::Tensor numbers = points.index({groups.eq(static_cast<std::int64_t>(g))}).t().contiguous();
    const double* x = numbers.const_data_ptr<double>();
    const double* y = x + numbers.size(1);
    marks.emplace_back(Curve{
        .name = names[g], .x = {x, y}, .y = {y, y + numbers.size(1)}, .spread = {}, .style = Curve::Style::kPoints});
  }
  return marks;
}

/// Gives the panel, which is as high as wide, the same length of either axis, around these points.
inline void show_square(Panel& panel, const at::Tensor& points) {
  constexpr double kMargin = 1.08;
  const at::Tensor low = points.amin(0), high = points.amax(0), middle = (low + high) / 2;
  const double half = kMargin / 2 * (high - low).max().item<double>();
  if (!(half > 0)) return;  // all in one place, or in none
  for (const auto& [axis, place] : {std::pair{&panel.x, middle[0]}, std::pair{&panel.y, middle[1]}}) {
    axis->low = place.item<double>() - half;
    axis->high = place.item<double>() + half;
  }
}

}  // namespace kd::analyses
