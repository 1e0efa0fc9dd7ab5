// Tests of the loss "wttm".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

double reference(double power, bool weighted) {
  const Rows p = softmax(student()), q = softmax(teacher());
  return mean_of_rows([&](std::size_t i) {
    Row powers;
    double sum = 0;
    for (const double x : q[i]) {
      powers.push_back(std::pow(x, power));
      sum += powers.back();
    }
    for (double& x : powers) x /= sum;
    return divergence(powers, p[i]) * (weighted ? sum : 1);
  });
}

TEST(Wttm, FollowsTheDefinition) {
  const Given given{.teacher = teacher(), .targets = hard(kLabels)};
  expect_value(make("wttm", "power = 0.3"), given, reference(0.3, true));
  expect_value(make("wttm", "power = 0.3, weighted = false"), given, reference(0.3, false));
}

TEST(Wttm, IsSound) {
  for (const auto* parameters : {"", "weighted = false, power = 0.5"})
    expect_sound(make("wttm", parameters), {.teacher = teacher(), .targets = hard(kSomeLabels)});
}

TEST(Wttm, WithPowerOneIsTheDivergenceAtTemperatureOne) {
  const Given given{.teacher = teacher().to(at::kDouble), .targets = mixed()};
  EXPECT_NEAR(value(make("wttm", "power = 1"), student().to(at::kDouble), given).item<double>(),
              value(make("kd", "temperature = 1"), student().to(at::kDouble), given).item<double>(), 1e-12);
}

}  // namespace
