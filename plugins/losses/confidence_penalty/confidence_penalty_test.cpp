// Tests of the loss "confidence_penalty".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

double entropy(const Row& p) {
  double sum = 0;
  for (const double x : p) sum -= x * std::log(x);
  return sum;
}

TEST(ConfidencePenalty, IsMinusTheEntropy) {
  const Rows p = softmax(student());
  expect_value(make("confidence_penalty"), {}, -mean_of_rows([&](std::size_t i) { return entropy(p[i]); }));
  EXPECT_NEAR(value(make("confidence_penalty"), student() * 0, {}).item<double>(), -std::log(kClasses), 1e-6);
}

TEST(ConfidencePenalty, HingePenalisesOnlyConfidentSamples) {
  const Rows p = softmax(student());
  const auto hinge = [&](std::size_t i) { return std::max(0.0, 1 - entropy(p[i])); };
  int penalised = 0;
  for (std::size_t i = 0; i < p.size(); ++i) penalised += hinge(i) > 0 ? 1 : 0;
  ASSERT_GT(penalised, 0);
  ASSERT_LT(penalised, kRows);
  expect_value(make("confidence_penalty", "threshold = 1"), {}, mean_of_rows(hinge));
}

TEST(ConfidencePenalty, GradientMovesProbabilityToUnlikelyClasses) {
  const Rows p = softmax(student());
  const Rows actual = rows(gradient(make("confidence_penalty"), student().to(at::kDouble), {}));
  for (std::size_t i = 0; i < p.size(); ++i) {
    for (std::size_t c = 0; c < p[i].size(); ++c) {
      EXPECT_NEAR(actual[i][c], p[i][c] * (std::log(p[i][c]) + entropy(p[i])) / kRows, 1e-12);
    }
  }
}

TEST(ConfidencePenalty, IsSound) {
  expect_sound(make("confidence_penalty"), {});
  expect_sound(make("confidence_penalty", "threshold = 1"), {});
}

}  // namespace
