// Tests of the loss "rkd".
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;
using kd::testing::Rows;
using kd::testing::rows;

double smooth_l1(double x) { return std::abs(x) < 1 ? x * x / 2 : std::abs(x) - 0.5; }

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double squares = 0;
  for (std::size_t d = 0; d < a.size(); ++d) squares += (a[d] - b[d]) * (a[d] - b[d]);
  return std::sqrt(squares);
}

/// Mean over all pairs, those of a sample with itself too, of smooth L1 between the relative distances.
double distance_part(const Rows& s, const Rows& t) {
  const std::size_t n = s.size();
  const auto mean = [&](const Rows& f) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) sum += distance(f[i], f[j]);
    }
    return sum / double(n * (n - 1));
  };
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j)
      sum += smooth_l1(distance(s[i], s[j]) / mean(s) - distance(t[i], t[j]) / mean(t));
  }
  return sum / double(n * n);
}

double cosine(const Rows& f, std::size_t i, std::size_t j, std::size_t k) {
  if (i == j || i == k) return 0;
  double product = 0;
  for (std::size_t d = 0; d < f[i].size(); ++d) product += (f[j][d] - f[i][d]) * (f[k][d] - f[i][d]);
  return product / (distance(f[i], f[j]) * distance(f[i], f[k]));
}

double angle_part(const Rows& s, const Rows& t) {
  const std::size_t n = s.size();
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t k = 0; k < n; ++k) sum += smooth_l1(cosine(s, i, j, k) - cosine(t, i, j, k));
    }
  }
  return sum / double(n * n * n);
}

TEST(Rkd, FollowsTheDefinition) {
  Setting setting("rkd", "", wider(), 5);
  setting.make_double();
  const Rows s = rows(setting.student["pooled"]), t = rows(setting.teacher["pooled"]);
  EXPECT_NEAR(setting.value().item<double>(), 25 * distance_part(s, t) + 50 * angle_part(s, t), 1e-10);
}

TEST(Rkd, IsSound) {
  expect_sound("rkd");
  expect_sound("rkd", "taps = ['stage3'], distance = 0");
  expect_sound("rkd", "angle = 0");
}

TEST(Rkd, DoesNotSeeARotationAShiftOrAScale) {
  Setting setting("rkd", "", equal(), 5);
  setting.make_double();
  setting.teacher["pooled"] = setting.student["pooled"].flip(1) * -2 + 7;
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-20);
}

}  // namespace
