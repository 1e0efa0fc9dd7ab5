// Tests of the loss "pkd".
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

/// 1 − Pearson's correlation of two channels over samples and places, times (n − 1)/n for the unbiased deviation.
double distance(const Numbers& s, const Numbers& t, std::size_t channel) {
  std::vector<double> a, b;
  for (std::size_t i = 0; i < s.size(); ++i) {
    a.insert(a.end(), s[i][channel].begin(), s[i][channel].end());
    b.insert(b.end(), t[i][channel].begin(), t[i][channel].end());
  }
  const auto n = double(a.size());
  double mean_a = 0, mean_b = 0, ab = 0, aa = 0, bb = 0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    mean_a += a[k] / n;
    mean_b += b[k] / n;
  }
  for (std::size_t k = 0; k < a.size(); ++k) {
    ab += (a[k] - mean_a) * (b[k] - mean_b);
    aa += (a[k] - mean_a) * (a[k] - mean_a);
    bb += (b[k] - mean_b) * (b[k] - mean_b);
  }
  return (1 - ab / std::sqrt(aa * bb)) * (n - 1) / n;
}

TEST(Pkd, IsOneLessTheCorrelation) {
  Setting setting("pkd", "taps = ['stage2']", equal());
  setting.make_double();
  const Numbers s = numbers(setting.student["stage2"]), t = numbers(setting.teacher["stage2"]);
  double sum = 0;
  for (std::size_t c = 0; c < 4; ++c) sum += distance(s, t, c);
  EXPECT_NEAR(setting.value().item<double>(), sum / 4, 1e-5);  // its ε in the deviation
}

TEST(Pkd, IsSound) {
  expect_sound("pkd");
  expect_sound("pkd", "taps = ['stage1', 'stage2']");
}

TEST(Pkd, DoesNotSeeAScaleOrAShiftOfAChannel) {
  Setting setting("pkd", "taps = ['stage1']", equal());
  setting.make_double();
  setting.teacher["stage1"] = setting.student["stage1"] * 3 + 1;
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-10);
}

}  // namespace
