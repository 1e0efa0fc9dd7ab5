// Tests of the loss "cc"; RepDistiller's form is held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;
using kd::testing::Rows;
using kd::testing::rows;

double correlation(const std::vector<double>& a, const std::vector<double>& b, double gamma, int order) {
  double product = 0, of_a = 0, of_b = 0;
  for (std::size_t d = 0; d < a.size(); ++d) {
    product += a[d] * b[d];
    of_a += a[d] * a[d];
    of_b += b[d] * b[d];
  }
  const double cosine = product / std::sqrt(of_a * of_b);
  double sum = 0, factorial = 1;
  for (int p = 0; p <= order; ++p) {
    if (p > 0) factorial *= p;
    sum += std::exp(-2 * gamma) * std::pow(2 * gamma, p) / factorial * std::pow(cosine, p);
  }
  return sum;
}

TEST(CorrelationCongruence, FollowsTheDefinition) {
  Setting setting("cc", "gamma = 0.7, order = 3", wider(), 4);
  setting.make_double();
  const Rows s = rows(setting.student["pooled"]), t = rows(setting.teacher["pooled"]);
  double sum = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    for (std::size_t j = 0; j < 4; ++j) {
      const double difference = correlation(s[i], s[j], 0.7, 3) - correlation(t[i], t[j], 0.7, 3);
      sum += difference * difference;
    }
  }
  EXPECT_NEAR(setting.value().item<double>(), sum / 16, 1e-12);
}

TEST(CorrelationCongruence, NearsTheGaussianKernel) {
  const std::vector<double> a{0.6, 0.8}, b{1, 0};
  EXPECT_NEAR(correlation(a, b, 0.4, 8), std::exp(-0.4 * (0.16 + 0.64)), 1e-7);
}

TEST(CorrelationCongruence, IsSound) {
  expect_sound("cc");
  expect_sound("cc", "form = 'repdistiller', embedding = 4, taps = ['stage2']");
}

TEST(CorrelationCongruence, OfRotatedFeaturesIsZero) {
  Setting setting("cc", "", equal(), 4);
  setting.make_double();
  setting.teacher["pooled"] = setting.student["pooled"].flip(1) * -2;
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-24);
}

}  // namespace
