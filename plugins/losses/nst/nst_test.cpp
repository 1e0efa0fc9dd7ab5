// Tests of the loss "nst".
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

double kernel(const std::vector<double>& a, const std::vector<double>& b) {
  double product = 0, of_a = 0, of_b = 0;
  for (std::size_t p = 0; p < a.size(); ++p) {
    product += a[p] * b[p];
    of_a += a[p] * a[p];
    of_b += b[p] * b[p];
  }
  return product * product / (of_a * of_b);
}

double mean_kernel(const Numbers& a, const Numbers& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (const auto& x : a[i]) {
      for (const auto& y : b[i]) sum += kernel(x, y);
    }
  }
  return sum / double(a.size() * a[0].size() * b[0].size());
}

TEST(Nst, FollowsTheDefinition) {
  Setting setting("nst", "", wider());  // stage1 has more places than channels, stage3 fewer
  setting.make_double();
  double expected = 0;
  for (const std::string tap : {"stage1", "stage2", "stage3"}) {
    const Numbers s = numbers(setting.student[tap]), t = numbers(setting.teacher[tap]);
    expected += mean_kernel(s, s) + mean_kernel(t, t) - 2 * mean_kernel(s, t);
  }
  EXPECT_NEAR(setting.value().item<double>(), expected, 1e-12);
}

TEST(Nst, IsSound) { expect_sound("nst"); }

TEST(Nst, OfTheSameChannelsInAnotherOrderIsZero) {
  Setting setting("nst", "", equal());
  setting.make_double();
  for (auto& [name, feature] : setting.teacher) feature = setting.student[name].flip(1) * 2;
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-14);
}

}  // namespace
