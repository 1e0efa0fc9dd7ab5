// Tests of the loss "ab"; with connectors it is held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

TEST(ActivationBoundaries, FollowsTheDefinition) {
  Setting setting("ab", "margin = 0.7", equal());
  setting.make_double();
  EXPECT_EQ(setting.loss().module(), nullptr);
  double expected = 0, weight = 0.25;
  for (const std::string tap : {"stage1_pre", "stage2_pre", "stage3_pre"}) {
    const Numbers s = numbers(setting.student[tap]), t = numbers(setting.teacher[tap]);
    double sum = 0;
    for (std::size_t i = 0; i < s.size(); ++i) {
      for (std::size_t c = 0; c < s[i].size(); ++c) {
        for (std::size_t p = 0; p < s[i][c].size(); ++p) {
          const double x = s[i][c][p];
          if (t[i][c][p] > 0 && x <= 0.7) sum += (x - 0.7) * (x - 0.7);
          if (t[i][c][p] <= 0 && x > -0.7) sum += (x + 0.7) * (x + 0.7);
        }
      }
    }
    expected += weight * 0.003 * sum / 3;
    weight *= 2;
  }
  EXPECT_NEAR(setting.value().item<double>(), expected, 1e-12);
}

TEST(ActivationBoundaries, IsSound) {
  expect_sound("ab");
  expect_sound("ab", "scale = 'mean', taps = ['stage2_pre']");
  expect_sound("ab", "scale = 'batch', taps = ['stage2_pre']");
}

TEST(ActivationBoundaries, BeyondTheMarginIsZero) {
  Setting setting("ab", "", equal());
  setting.make_double();
  for (auto& [name, feature] : setting.student) {
    if (name != "logits") feature = (setting.teacher[name] > 0).to(at::kDouble) * 4 - 2;
  }
  EXPECT_EQ(setting.value().item<double>(), 0);
}

}  // namespace
