// What a few repeats of a measurement say: spread, intervals, and how many repeats would say more.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "kd/api.h"

namespace kd {

/// Of the numbers that are finite.
struct KD_API Spread {
  std::size_t count = 0;
  double mean = 0;       ///< NaN of none
  double deviation = 0;  ///< of the sample, over count − 1; NaN of fewer than two
};
KD_API Spread spread_of(const std::vector<double>& values);

struct KD_API Interval {
  double low = 0, high = 0;
};
/// Student's interval of the mean that 95 % of such samples would have around the true one; nothing of fewer than two.
KD_API std::optional<Interval> interval_of(const Spread& spread);

/// How many pairs a two-sided paired t-test at 5 % needs to see, in 80 % of cases, a mean difference of so many of its
/// deviations (noncentral t); nothing for 0 and for more than 10 000.
KD_API std::optional<std::size_t> pairs_needed(double mean, double deviation);

}  // namespace kd
