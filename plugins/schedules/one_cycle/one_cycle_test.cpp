// Tests of the schedule "one_cycle".
#include <gtest/gtest.h>

#include <vector>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

void expect_values(const std::string& parameters, std::int64_t steps_per_epoch, const std::vector<double>& expected) {
  kd::load_plugins();
  const auto schedule = kd::make<kd::Schedule>("{ type = 'one_cycle'" + parameters + " }");
  const std::int64_t epochs = static_cast<std::int64_t>(expected.size()) / steps_per_epoch;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const kd::ScheduleTime time{
        .step = static_cast<std::int64_t>(i), .steps_per_epoch = steps_per_epoch, .epochs = epochs};
    EXPECT_NEAR(schedule->value(time), expected[i], 1e-14) << "step " << i;
  }
}

// Expected numbers: torch.optim.lr_scheduler.OneCycleLR with max_lr = 1, torch 2.13.

TEST(OneCycle, EqualsPyTorchWithTheDefaults) {
  expect_values("", 5,
                {0.040000000000000036,
                 0.1316718427000253,
                 0.3716718427000253,
                 0.6683281572999747,
                 0.9083281572999747,
                 1.0,
                 0.9874640062350873,
                 0.9504846320134737,
                 0.89091617757105,
                 0.8117456539497631,
                 0.7169430017913008,
                 0.6112620219362893,
                 0.500002,
                 0.38874197806371075,
                 0.28306099820869923,
                 0.18825834605023697,
                 0.10908782242895004,
                 0.049519367986526286,
                 0.012539993764912554,
                 4e-06});
}

TEST(OneCycle, EqualsPyTorchWithOtherSettings) {
  expect_values(", pct_start = 0.5, div_factor = 10, final_div_factor = 100", 2,
                {0.09999999999999998, 0.23180194846605362, 0.55, 0.8681980515339464, 1.0, 0.9046039886902862,
                 0.6548539886902862, 0.3461460113097138, 0.0963960113097138, 0.001});
}

TEST(OneCycle, IsFiniteInTheShortestStages) {
  kd::load_plugins();
  const auto schedule = kd::make<kd::Schedule>("{ type = 'one_cycle' }");
  for (const std::int64_t epochs : {1, 2, 10}) {
    for (std::int64_t step = 0; step <= epochs; ++step) {
      const double value = schedule->value({.step = step, .steps_per_epoch = 1, .epochs = epochs});
      EXPECT_TRUE(value > 0 && value <= 1) << value << " in step " << step << " of " << epochs;
    }
  }
}

}  // namespace
