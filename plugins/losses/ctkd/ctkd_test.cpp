// Tests of the loss "ctkd".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

at::Tensor temperature_of(const std::unique_ptr<kd::Loss>& loss) {
  return kd::testing::parameters_of(*loss).at("temperature");
}

const double kFirst = 1 + 20 / (1 + std::exp(-1.0));

TEST(Ctkd, BeginsAsKdAtItsFirstTemperature) {
  const Rows p = softmax(student(), kFirst), q = softmax(teacher(), kFirst);
  expect_value(make("ctkd"), {.teacher = teacher(), .targets = hard(kLabels)},
               kFirst * kFirst * mean_of_rows([&](std::size_t i) { return divergence(q[i], p[i]); }));
}

TEST(Ctkd, IsSound) { expect_sound(make("ctkd"), {.teacher = teacher(), .targets = mixed()}); }

/// The gradient by t in an epoch.
double pull(std::int64_t epoch, const std::string& parameters = "") {
  const auto loss = make("ctkd", parameters);
  kd::testing::place_module(*loss, at::kCPU, at::kDouble);
  const Given given{.teacher = teacher().to(at::kDouble),
                    .targets = hard(kLabels),
                    .views = {},
                    .time = {.step = epoch * 10 + 3, .steps_per_epoch = 10, .epochs = 240}};
  const at::Tensor result = value(loss, student().to(at::kDouble), given);
  return torch::autograd::grad({result}, {temperature_of(loss)})[0].item<double>();
}

TEST(Ctkd, TurnsTheGradientOfTheTemperatureRound) {
  const auto loss = make("ctkd", "loops = 0");
  kd::testing::place_module(*loss, at::kCPU, at::kDouble);
  const Given given{.teacher = teacher().to(at::kDouble), .targets = hard(kLabels)};
  const auto at_t = [&](double t) {
    const at::NoGradGuard no_gradient;
    temperature_of(loss).fill_(t);
    return value(loss, student().to(at::kDouble), given).item<double>();
  };
  const double slope = (at_t(1 + 1e-5) - at_t(1 - 1e-5)) / 2e-5;
  EXPECT_NEAR(pull(0, "loops = 0"), -slope, 1e-6 * (1 + std::abs(slope)));
  EXPECT_NEAR(pull(100), -slope, 1e-6 * (1 + std::abs(slope)));
  EXPECT_NEAR(pull(100, "strength = 0.5"), -slope / 2, 1e-6 * (1 + std::abs(slope)));
}

TEST(Ctkd, PullGrowsAsACosine) {
  EXPECT_NEAR(pull(4) / pull(100), 0.5, 1e-9);  // the fifth of ten epochs
  EXPECT_NEAR(pull(0) / pull(100), (1 - std::cos(std::acos(-1.0) / 10)) / 2, 1e-9);
  EXPECT_NEAR(pull(9) / pull(100), 1, 1e-9);
}

}  // namespace
