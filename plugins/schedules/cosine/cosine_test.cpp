// Tests of the schedule "cosine".
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

std::unique_ptr<kd::Schedule> make(const std::string& parameters) {
  kd::load_plugins();
  return kd::make<kd::Schedule>("{ type = 'cosine'" + parameters + " }");
}

TEST(Cosine, EqualsPyTorch) {
  // torch.optim.lr_scheduler.CosineAnnealingLR(lr = 1, T_max = 8, eta_min = 0.1), torch 2.13.
  constexpr std::array kExpected{1.0,  0.9657457896300791, 0.8681980515339464, 0.7222075445642905,
                                 0.55, 0.3777924554357097, 0.2318019484660537, 0.134254210369921,
                                 0.1};
  const auto per_epoch = make(", to = 0.1, per = 'epoch'");
  const auto per_step = make(", to = 0.1");
  for (std::int64_t i = 0; i < 9; ++i) {
    const double expected = kExpected[static_cast<std::size_t>(i)];
    EXPECT_NEAR(per_epoch->value({.step = 10 * i, .steps_per_epoch = 10, .epochs = 8}), expected, 1e-14);
    EXPECT_NEAR(per_epoch->value({.step = 10 * i + 9, .steps_per_epoch = 10, .epochs = 8}), expected, 1e-14);
    EXPECT_NEAR(per_step->value({.step = i, .steps_per_epoch = 4, .epochs = 2}), expected, 1e-14);
  }
}

TEST(Cosine, MayRiseAndThenStays) {
  const auto schedule = make(", from = 1, to = 3, epochs = 2");
  const auto at = [&](std::int64_t step) { return schedule->value({.step = step, .steps_per_epoch = 6, .epochs = 9}); };
  EXPECT_EQ(at(0), 1.0);
  EXPECT_NEAR(at(4), 1.5, 1e-14);  // cos 60° = 1/2
  EXPECT_NEAR(at(6), 2.0, 1e-14);
  EXPECT_NEAR(at(8), 2.5, 1e-14);
  EXPECT_NEAR(at(12), 3.0, 1e-14);
  EXPECT_NEAR(at(50), 3.0, 1e-14);
}

}  // namespace
