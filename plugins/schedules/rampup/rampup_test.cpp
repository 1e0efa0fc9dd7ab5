// Tests of the schedule "rampup".
#include <gtest/gtest.h>

#include <cmath>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

double at(const std::string& parameters, std::int64_t step) {
  kd::load_plugins();
  const auto schedule = kd::make<kd::Schedule>("{ type = 'rampup', epochs = 8" + parameters + " }");
  return schedule->value({.step = step, .steps_per_epoch = 10, .epochs = 30});
}

TEST(Rampup, FollowsTheDefinition) {
  EXPECT_NEAR(at(", to = 3", 0), 3 * std::exp(-5.0), 1e-14);
  EXPECT_NEAR(at(", to = 3", 20), 3 * std::exp(-5.0 * 0.75 * 0.75), 1e-14);
  EXPECT_EQ(at(", to = 3", 80), 3.0);
  EXPECT_EQ(at(", to = 3", 200), 3.0);
}

TEST(Rampup, ChangesOnceAnEpochWhereAsked) {
  EXPECT_EQ(at(", each = 'epoch'", 10), at(", each = 'epoch'", 19));
  EXPECT_NEAR(at(", each = 'epoch'", 19), std::exp(-5.0 * 0.75 * 0.75), 1e-14);
  EXPECT_EQ(at(", each = 'epoch'", 70), 1.0);
}

}  // namespace
