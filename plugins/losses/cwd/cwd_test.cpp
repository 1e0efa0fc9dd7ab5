// Tests of the loss "cwd"; with a learned convolution it is held against plain PyTorch in
// tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

std::vector<double> softmax(std::vector<double> numbers, double temperature) {
  double sum = 0;
  for (double& x : numbers) sum += x = std::exp(x / temperature);
  for (double& x : numbers) x /= sum;
  return numbers;
}

TEST(ChannelWise, FollowsTheDefinition) {
  Setting setting("cwd", "taps = ['stage2'], temperature = 2", equal());
  setting.make_double();
  const Numbers s = numbers(setting.student["stage2"]), t = numbers(setting.teacher["stage2"]);
  double sum = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t c = 0; c < 4; ++c) {
      const auto p = softmax(s[i][c], 2), q = softmax(t[i][c], 2);
      for (std::size_t k = 0; k < p.size(); ++k) sum += q[k] * std::log(q[k] / p[k]);
    }
  }
  EXPECT_NEAR(setting.value().item<double>(), 4 * sum / 12, 1e-12);
}

TEST(ChannelWise, IsSound) {
  expect_sound("cwd");
  expect_sound("cwd", "taps = ['stage1', 'stage2'], temperature = 1");
}

TEST(ChannelWise, DoesNotSeeAShiftOfAChannel) {
  Setting setting("cwd", "taps = ['stage1']", equal());
  setting.make_double();
  setting.teacher["stage1"] = setting.student["stage1"] + 5;
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-14);
}

}  // namespace
