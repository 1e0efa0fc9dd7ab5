// Tests of the statistics of a few repeats, against published and tabulated values.
#include "report/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace {

TEST(Statistics, SpreadIsMeanAndSampleDeviation) {
  const kd::Spread spread = kd::spread_of({0.5, 0.75, 1.0});
  EXPECT_EQ(spread.count, 3U);
  EXPECT_DOUBLE_EQ(spread.mean, 0.75);
  EXPECT_DOUBLE_EQ(spread.deviation, 0.25);
}

TEST(Statistics, LeavesOutWhatWasNotMeasured) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(kd::spread_of({1, none, 3}).count, 2U);
  EXPECT_DOUBLE_EQ(kd::spread_of({1, none, 3}).mean, 2);
  EXPECT_TRUE(std::isnan(kd::spread_of({none}).mean));
  EXPECT_TRUE(std::isnan(kd::spread_of({1}).deviation));
  EXPECT_FALSE(kd::interval_of(kd::spread_of({1})));
}

TEST(Statistics, IntervalIsStudents) {
  // The quantile t(0.975; 2) is 4.302653 in every table.
  const auto interval = kd::interval_of(kd::spread_of({1, 2, 3}));
  ASSERT_TRUE(interval);
  EXPECT_NEAR(interval->low, 2 - 4.302653 / std::sqrt(3.0), 1e-6);
  EXPECT_NEAR(interval->high, 2 + 4.302653 / std::sqrt(3.0), 1e-6);
}

TEST(Statistics, PairsNeededAreThoseOfPowerTables) {
  // G*Power 3.1, difference of two dependent means, two-sided, α = 0.05, power 0.8.
  EXPECT_EQ(kd::pairs_needed(0.2, 1), 199U);
  EXPECT_EQ(kd::pairs_needed(0.5, 1), 34U);
  EXPECT_EQ(kd::pairs_needed(-0.5, 1), 34U);
  EXPECT_EQ(kd::pairs_needed(1, 1), 10U);
  EXPECT_EQ(kd::pairs_needed(4, 2), 5U);
}

TEST(Statistics, PairsNeededAtTheEdges) {
  EXPECT_FALSE(kd::pairs_needed(0, 1));
  EXPECT_FALSE(kd::pairs_needed(0.001, 1));
  EXPECT_FALSE(kd::pairs_needed(1, std::numeric_limits<double>::quiet_NaN()));
  EXPECT_EQ(kd::pairs_needed(1, 0), 2U);
  EXPECT_EQ(kd::pairs_needed(1e9, 1), 2U);
}

}  // namespace
