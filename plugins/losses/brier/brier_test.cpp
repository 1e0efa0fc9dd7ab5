// Tests of the loss "brier".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

TEST(Brier, FollowsTheDefinition) {
  for (const double temperature : {1.0, 2.5}) {
    const Rows p = softmax(student(), temperature), q = softmax(teacher(), temperature);
    const double expected = temperature * temperature * mean_of_rows([&](std::size_t i) {
                              double sum = 0;
                              for (std::size_t c = 0; c < p[i].size(); ++c)
                                sum += (p[i][c] - q[i][c]) * (p[i][c] - q[i][c]);
                              return sum;
                            });
    expect_value(make("brier", "temperature = " + std::to_string(temperature)),
                 {.teacher = teacher(), .targets = hard(kLabels)}, expected);
  }
}

TEST(Brier, IsSound) { expect_sound(make("brier"), {.teacher = teacher(), .targets = mixed()}); }

TEST(Brier, IsAtMostTwo) {
  const at::Tensor sure = matrix({{1e4, 0, 0, 0, 0, 0, 0}}), other = matrix({{0, 1e4, 0, 0, 0, 0, 0}});
  EXPECT_NEAR(value(make("brier"), sure, {.teacher = other, .targets = hard({0})}).item<double>(), 2, 1e-6);
}

}  // namespace
