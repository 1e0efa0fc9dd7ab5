// Tests of the loss "review_kd"; its values are held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

TEST(ReviewKd, IsSound) {
  expect_sound("review_kd", "warmup = 0");
  expect_sound("review_kd", "taps = ['stage2', 'stage3'], widest = 3");
}

TEST(ReviewKd, ComparesWithTheTeachersMapsBeforeTheirActivation) {
  Setting setting("review_kd", "", equal());
  const kd::TapRequest student{"stage1", "stage2", "stage3", "pooled"};
  const kd::TapRequest teacher{"stage1_pre", "stage2_pre", "stage3_pre", "pooled"};
  EXPECT_EQ(setting.loss().needs().student_taps, student);
  EXPECT_EQ(setting.loss().needs().teacher_taps, teacher);
  Setting named("review_kd", "taps = ['stage1'], teacher_taps = ['stage1']", equal());
  EXPECT_EQ(named.loss().needs().teacher_taps, kd::TapRequest{"stage1"});
}

TEST(ReviewKd, GrowsOverTheFirstEpochs) {
  Setting setting("review_kd", "", equal());
  const double full = setting.value().item<double>();
  setting.time.step = 5;  // in the first epoch of 10 steps
  EXPECT_NEAR(setting.value().item<double>(), full / 20, 1e-6 * full);
  setting.time.step = 95;
  EXPECT_NEAR(setting.value().item<double>(), full / 2, 1e-6 * full);
}

}  // namespace
