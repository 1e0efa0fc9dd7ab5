// Tests of the loss "dist".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

double pearson(const Row& a, const Row& b) {
  double product = 0;
  for (std::size_t i = 0; i < a.size(); ++i) product += (a[i] - mean(a)) * (b[i] - mean(b));
  return product / (static_cast<double>(a.size() - 1) * unbiased_deviation(a) * unbiased_deviation(b));
}

/// Mean of 1 − ρ of corresponding rows.
double distance(const Rows& a, const Rows& b) {
  Row distances;
  for (std::size_t i = 0; i < a.size(); ++i) distances.push_back(1 - pearson(a[i], b[i]));
  return mean(distances);
}

Rows transposed(const Rows& numbers) { return rows(matrix(numbers).t()); }

TEST(Dist, FollowsTheDefinition) {
  for (const double tau : {1.0, 4.0}) {
    const Rows p = softmax(student(), tau), q = softmax(teacher(), tau);
    const double inter = distance(p, q), intra = distance(transposed(p), transposed(q));
    const auto loss = make("dist", "beta = 2, gamma = 0.5, temperature = " + std::to_string(tau));
    for (const at::Device& device : kd::testing::devices()) {
      // The released 1e-8 beside the norms is not in the reference.
      EXPECT_NEAR(value(loss, student().to(device), {.teacher = teacher().to(device)}).item<double>(),
                  tau * tau * (2 * inter + 0.5 * intra), 2e-5 * tau * tau);
    }
  }
}

TEST(Dist, IsSound) {
  expect_sound(make("dist"), {.teacher = teacher()});
  expect_sound(make("dist", "beta = 2, gamma = 0.5, temperature = 1"), {.teacher = teacher()});
}

TEST(Dist, IsZeroForStraightLinesOfTheTeachersProbabilities) {
  Rows logits = softmax(teacher());
  for (Row& row : logits) {
    for (double& p : row) p = std::log(0.3 * p + 0.7 / kClasses);
  }
  const Given given{.teacher = teacher().to(at::kDouble)};
  const auto loss = make("dist", "temperature = 1");
  EXPECT_NEAR(value(loss, matrix(logits), given).item<double>(), 0, 1e-5);
  EXPECT_GT(value(loss, student().to(at::kDouble), given).item<double>(), 0.1);
}

TEST(Dist, OneSampleCorrelatesWithNoOther) {
  const at::Tensor s = student().slice(0, 0, 1);
  EXPECT_NEAR(value(make("dist", "temperature = 1"), s, {.teacher = s}).item<double>(), 1, 1e-6);
}

}  // namespace
