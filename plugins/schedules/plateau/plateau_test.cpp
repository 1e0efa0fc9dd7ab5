// Tests of the schedule "plateau".
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

constexpr const char* kImpatient = "{ type = 'plateau', factor = 0.5, patience = 2, cooldown = 1, min_factor = 0.2 }";
const std::vector<double> kLosses{1.0, 0.9,     0.95,    0.95, 0.91, 0.90, 0.8, 0.8, 0.8, 0.8,
                                  0.8, 0.79999, 0.79998, 0.7,  0.7,  0.7,  0.7, 0.7, 0.7};
// torch.optim.lr_scheduler.ReduceLROnPlateau(lr = 1, factor = 0.5, patience = 2, cooldown = 1, min_lr = 0.2),
// torch 2.13.
const std::vector<double> kExpected{1.0,  1.0,  1.0,  1.0,  0.5,  0.5,  0.5, 0.5, 0.5, 0.25,
                                    0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2};

TEST(Plateau, EqualsPyTorch) {
  kd::load_plugins();
  const auto schedule = kd::make<kd::Schedule>(kImpatient);
  EXPECT_EQ(schedule->value({}), 1.0);
  for (std::size_t i = 0; i < kLosses.size(); ++i) {
    schedule->observe(kLosses[i]);
    EXPECT_DOUBLE_EQ(schedule->value({}), kExpected[i]) << "after observation " << i;
  }
}

TEST(Plateau, EqualsPyTorchWithTheDefaults) {
  kd::load_plugins();
  const auto schedule = kd::make<kd::Schedule>("{ type = 'plateau' }");
  for (int i = 0; i < 24; ++i) {
    schedule->observe(1.0);
    // The same numbers as torch.optim.lr_scheduler.ReduceLROnPlateau(lr = 1), torch 2.13.
    EXPECT_DOUBLE_EQ(schedule->value({}), i < 11 ? 1.0 : i < 22 ? 0.1 : 0.01) << "after observation " << i;
  }
}

TEST(Plateau, RestoresAtEveryPoint) {
  kd::load_plugins();
  for (std::size_t stop = 0; stop <= kLosses.size(); ++stop) {
    const auto before = kd::make<kd::Schedule>(kImpatient);
    for (std::size_t i = 0; i < stop; ++i) before->observe(kLosses[i]);
    const auto after = kd::make<kd::Schedule>(kImpatient);
    after->restore(before->state());
    for (std::size_t i = stop; i < kLosses.size(); ++i) {
      after->observe(kLosses[i]);
      EXPECT_DOUBLE_EQ(after->value({}), kExpected[i]) << "stopped at " << stop << ", observation " << i;
    }
  }
}

TEST(Plateau, ALossThatIsNotANumberIsNotBetter) {
  kd::load_plugins();
  const auto schedule = kd::make<kd::Schedule>("{ type = 'plateau', factor = 0.5, patience = 1 }");
  for (int i = 0; i < 2; ++i) schedule->observe(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(schedule->value({}), 0.5);
}

TEST(Plateau, RefusesAForeignState) {
  kd::load_plugins();
  EXPECT_THROW(kd::make<kd::Schedule>("{ type = 'plateau' }")->restore({1.0}), kd::FileError);
}

}  // namespace
