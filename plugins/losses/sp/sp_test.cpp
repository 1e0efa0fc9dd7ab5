// Tests of the loss "sp".
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;
using kd::testing::Rows;
using kd::testing::rows;

/// Inner products of the rows, each row of them over its length.
Rows similarity(const Rows& f) {
  Rows g(f.size(), std::vector<double>(f.size(), 0));
  for (std::size_t i = 0; i < f.size(); ++i) {
    double squares = 0;
    for (std::size_t j = 0; j < f.size(); ++j) {
      for (std::size_t d = 0; d < f[i].size(); ++d) g[i][j] += f[i][d] * f[j][d];
      squares += g[i][j] * g[i][j];
    }
    for (double& entry : g[i]) entry /= std::sqrt(squares);
  }
  return g;
}

TEST(SimilarityPreserving, FollowsTheDefinition) {
  Setting setting("sp", "", wider_and_smaller(), 4);
  setting.make_double();
  const Rows s = similarity(rows(setting.student["stage3"].flatten(1)));
  const Rows t = similarity(rows(setting.teacher["stage3"].flatten(1)));
  double sum = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    for (std::size_t j = 0; j < s.size(); ++j) sum += (s[i][j] - t[i][j]) * (s[i][j] - t[i][j]);
  }
  EXPECT_NEAR(setting.value().item<double>(), sum / 16, 1e-12);
}

TEST(SimilarityPreserving, IsSound) {
  expect_sound("sp");
  expect_sound("sp", "taps = ['stage2', 'pooled']");
}

TEST(SimilarityPreserving, OfRotatedFeaturesIsZero) {
  Setting setting("sp", "taps = ['pooled']", equal(), 4);
  setting.make_double();
  setting.teacher["pooled"] = setting.student["pooled"].flip(1) * -2;
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-24);
}

}  // namespace
