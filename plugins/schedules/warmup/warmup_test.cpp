// Tests of the schedule "warmup".
#include <gtest/gtest.h>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

std::unique_ptr<kd::Schedule> make(const std::string& parameters) {
  kd::load_plugins();
  return kd::make<kd::Schedule>("{ type = 'warmup'" + parameters + " }");
}

TEST(Warmup, RisesToOneAndStays) {
  const auto schedule = make(", epochs = 2");
  const auto at = [&](std::int64_t step) { return schedule->value({.step = step, .steps_per_epoch = 4, .epochs = 9}); };
  EXPECT_EQ(at(0), 0.0);
  EXPECT_NEAR(at(2), 0.25, 1e-15);
  EXPECT_NEAR(at(7), 0.875, 1e-15);
  EXPECT_EQ(at(8), 1.0);
  EXPECT_EQ(at(30), 1.0);
}

TEST(Warmup, MeetsTheNestedScheduleOnTheTimeOfTheStage) {
  const auto schedule = make(", from = 0.5, epochs = 2, then = { type = 'linear', from = 1, to = 0, epochs = 10 }");
  const auto at = [&](std::int64_t step) {
    return schedule->value({.step = step, .steps_per_epoch = 4, .epochs = 10});
  };
  EXPECT_EQ(at(0), 0.5);
  EXPECT_NEAR(at(4), 0.65, 1e-15);  // halfway to 0.8, which the nested one has after 2 of its 10 epochs
  EXPECT_NEAR(at(8), 0.8, 1e-15);
  EXPECT_NEAR(at(20), 0.5, 1e-15);
}

TEST(Warmup, HandsObservationsOn) {
  const auto nested = ", epochs = 1, then = { type = 'plateau', factor = 0.5, patience = 0 }";
  const auto schedule = make(nested);
  const kd::ScheduleTime late{.step = 100, .steps_per_epoch = 4, .epochs = 40};
  schedule->observe(1);
  schedule->observe(1);
  EXPECT_EQ(schedule->value(late), 0.5);
  const auto resumed = make(nested);
  resumed->restore(schedule->state());
  EXPECT_EQ(resumed->value(late), 0.5);
}

}  // namespace
