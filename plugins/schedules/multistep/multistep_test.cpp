// Tests of the schedule "multistep".
#include <gtest/gtest.h>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

TEST(Multistep, DropsAtTheStartOfEachMilestone) {
  kd::load_plugins();
  const auto schedule = kd::make<kd::Schedule>("{ type = 'multistep', milestones = [2, 3], gamma = 0.5 }");
  const auto at = [&](std::int64_t step) {
    return schedule->value({.step = step, .steps_per_epoch = 10, .epochs = 4});
  };
  EXPECT_EQ(at(0), 1.0);
  EXPECT_EQ(at(19), 1.0);
  EXPECT_EQ(at(20), 0.5);
  EXPECT_EQ(at(39), 0.25);
}

}  // namespace
