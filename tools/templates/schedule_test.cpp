// Tests of the schedule "KD_NAME_HERE".
#include "kd/schedule.h"

#include <gtest/gtest.h>

#include "kd/plugin.h"

namespace {

TEST(KdClassHere, FallsByTheFactorInEveryEpoch) {
  kd::load_plugins();
  const auto schedule = kd::make<kd::Schedule>("{ type = 'KD_NAME_HERE', gamma = 0.25 }");
  const auto at = [&](std::int64_t step) {
    return schedule->value({.step = step, .steps_per_epoch = 10, .epochs = 4});
  };
  EXPECT_DOUBLE_EQ(at(0), 1.0);
  EXPECT_DOUBLE_EQ(at(5), 0.5);
  EXPECT_DOUBLE_EQ(at(10), 0.25);
  EXPECT_DOUBLE_EQ(at(20), 0.0625);
}

TEST(KdClassHere, RefusesAFactorThatGrows) {
  kd::load_plugins();
  EXPECT_THROW(kd::make<kd::Schedule>("{ type = 'KD_NAME_HERE', gamma = 1.5 }"), kd::RecipeError);
}

}  // namespace
