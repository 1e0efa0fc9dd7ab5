// Tests of the loss "pkt".
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;
using kd::testing::Rows;
using kd::testing::rows;

Rows neighbours(const Rows& f) {
  Rows p(f.size(), std::vector<double>(f.size()));
  const auto length = [](const std::vector<double>& v) {
    double squares = 0;
    for (const double x : v) squares += x * x;
    return std::sqrt(squares) + 1e-7;
  };
  for (std::size_t i = 0; i < f.size(); ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < f.size(); ++j) {
      double product = 0;
      for (std::size_t d = 0; d < f[i].size(); ++d) product += f[i][d] * f[j][d];
      sum += p[i][j] = (product / (length(f[i]) * length(f[j])) + 1) / 2;
    }
    for (double& x : p[i]) x /= sum;
  }
  return p;
}

TEST(Pkt, FollowsTheDefinition) {
  Setting setting("pkt", "", wider(), 4);
  setting.make_double();
  const Rows s = neighbours(rows(setting.student["pooled"])), t = neighbours(rows(setting.teacher["pooled"]));
  double sum = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    for (std::size_t j = 0; j < s.size(); ++j) sum += t[i][j] * std::log((t[i][j] + 1e-7) / (s[i][j] + 1e-7));
  }
  EXPECT_NEAR(setting.value().item<double>(), sum / 16, 1e-12);
}

TEST(Pkt, IsSound) {
  expect_sound("pkt");
  expect_sound("pkt", "taps = ['stage2', 'pooled']");
}

TEST(Pkt, OfRotatedFeaturesIsZero) {
  Setting setting("pkt", "", equal(), 4);
  setting.make_double();
  setting.teacher["pooled"] = setting.student["pooled"].flip(1) * -1;
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-15);
}

}  // namespace
