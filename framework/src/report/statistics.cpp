// statistics.h, with the distributions of Boost.Math.
#include "report/statistics.h"

#include <algorithm>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>

namespace kd {
namespace {

constexpr double kLevel = 0.05, kPower = 0.8;
constexpr std::size_t kMostPairs = 10'000;

double power_of(double effect, std::size_t pairs) {
  const auto freedom = static_cast<double>(pairs - 1);
  const double edge = boost::math::quantile(boost::math::students_t(freedom), 1 - kLevel / 2);
  const boost::math::non_central_t differences(freedom, effect * std::sqrt(static_cast<double>(pairs)));
  return boost::math::cdf(boost::math::complement(differences, edge)) + boost::math::cdf(differences, -edge);
}

}  // namespace

Spread spread_of(const std::vector<double>& values) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  Spread spread;
  double sum = 0, squares = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    ++spread.count;
    sum += value;
  }
  spread.mean = spread.count == 0 ? none : sum / static_cast<double>(spread.count);
  for (const double value : values) {
    if (std::isfinite(value)) squares += (value - spread.mean) * (value - spread.mean);
  }
  spread.deviation = spread.count < 2 ? none : std::sqrt(squares / static_cast<double>(spread.count - 1));
  return spread;
}

std::optional<Interval> interval_of(const Spread& spread) {
  if (spread.count < 2) return std::nullopt;
  const boost::math::students_t distribution(static_cast<double>(spread.count - 1));
  const double half = boost::math::quantile(distribution, 1 - kLevel / 2) * spread.deviation /
                      std::sqrt(static_cast<double>(spread.count));
  return Interval{spread.mean - half, spread.mean + half};
}

std::optional<std::size_t> pairs_needed(double mean, double deviation) {
  if (!std::isfinite(mean) || !std::isfinite(deviation) || mean == 0) return std::nullopt;
  if (deviation == 0) return 2;
  // Far above what any test needs the noncentral t leaves its range.
  const double effect = std::min(std::abs(mean) / deviation, 20.0);
  if (power_of(effect, kMostPairs) < kPower) return std::nullopt;
  std::size_t low = 1, high = kMostPairs;  // too few, enough
  while (high - low > 1) {
    const std::size_t middle = (low + high) / 2;
    (power_of(effect, middle) < kPower ? low : high) = middle;
  }
  return high;
}

}  // namespace kd
