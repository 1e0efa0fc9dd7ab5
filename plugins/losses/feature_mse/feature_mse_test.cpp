// Tests of the loss "feature_mse"; with a learned layer it is held against plain PyTorch in
// tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;
using kd::testing::rows;

TEST(FeatureMse, FollowsTheDefinition) {
  Setting setting("feature_mse", "", equal());
  setting.make_double();
  EXPECT_EQ(setting.loss().module(), nullptr);
  const auto s = rows(setting.student["pooled"]), t = rows(setting.teacher["pooled"]);
  double sum = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t d = 0; d < 6; ++d) sum += (s[i][d] - t[i][d]) * (s[i][d] - t[i][d]);
  }
  EXPECT_NEAR(setting.value().item<double>(), sum / 18, 1e-12);
}

TEST(FeatureMse, IsSound) {
  expect_sound("feature_mse");
  expect_sound("feature_mse", "taps = ['stage2', 'pooled']");
}

TEST(FeatureMse, RefusesAMapAgainstAVector) {
  expect_refusal("feature_mse", "taps = ['stage1'], teacher_taps = ['pooled']", equal(),
                 "'stage1' of the student and 'pooled' of the teacher are a map and a vector");
}

}  // namespace
