// Tests of the schedule "linear".
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

std::unique_ptr<kd::Schedule> make(const std::string& parameters) {
  kd::load_plugins();
  return kd::make<kd::Schedule>("{ type = 'linear'" + parameters + " }");
}

TEST(Linear, EqualsPyTorch) {
  // torch.optim.lr_scheduler.LinearLR(lr = 1, start_factor = 0.25, end_factor = 1, total_iters = 6), torch 2.13.
  constexpr std::array kExpected{0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.0};
  const auto schedule = make(", from = 0.25, to = 1, epochs = 3");
  for (std::int64_t i = 0; i < 8; ++i) {
    EXPECT_NEAR(schedule->value({.step = i, .steps_per_epoch = 2, .epochs = 20}),
                kExpected[static_cast<std::size_t>(i)], 1e-14);
  }
}

TEST(Linear, TakesTheWholeStageByDefault) {
  const auto schedule = make("");
  const auto at = [&](std::int64_t step) { return schedule->value({.step = step, .steps_per_epoch = 5, .epochs = 4}); };
  EXPECT_EQ(at(0), 1.0);
  EXPECT_NEAR(at(5), 0.75, 1e-15);
  EXPECT_NEAR(at(19), 0.05, 1e-15);
  EXPECT_EQ(at(20), 0.0);
}

TEST(Linear, WarmsUpByEpochsAsPublishedCodeDoes) {
  const auto schedule = make(", from = 0, to = 2, epochs = 20, each = 'epoch'");
  for (std::int64_t step = 0; step < 130; ++step) {
    const double epoch = static_cast<double>(step / 5 + 1);
    EXPECT_EQ(schedule->value({.step = step, .steps_per_epoch = 5, .epochs = 30}), 2 * std::min(epoch / 20, 1.0));
  }
}

}  // namespace
