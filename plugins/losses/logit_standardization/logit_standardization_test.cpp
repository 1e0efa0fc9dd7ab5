// Tests of the loss "logit_standardization".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

TEST(LogitStandardization, FollowsTheDefinition) {
  const Rows s = standardised(student()), t = standardised(teacher());
  for (const double temperature : {2.0, 4.0}) {
    const double expected = temperature * temperature * mean_of_rows([&](std::size_t i) {
                              return divergence(softmax(t[i], temperature), softmax(s[i], temperature));
                            });
    const auto loss = make("logit_standardization", "temperature = " + std::to_string(temperature));
    for (const at::Device& device : kd::testing::devices()) {
      const Given given{.teacher = teacher().to(device, at::kDouble)};
      // The published 1e-7 beside σ is not in the reference.
      EXPECT_NEAR(value(loss, student().to(device, at::kDouble), given).item<double>(), expected, 1e-6);
    }
  }
}

TEST(LogitStandardization, HasThePublishedEpsilon) {
  // σ = 1e-7 of both, so that z' is half the standardised logits.
  const double size = 1e-7;
  const at::Tensor s = matrix({{size, 0, -size}}), t = matrix({{0, size, -size}});
  const double expected = 4 * divergence(softmax({0, 0.5, -0.5}, 2), softmax({0.5, 0, -0.5}, 2));
  EXPECT_NEAR(value(make("logit_standardization"), s, {.teacher = t}).item<double>(), expected, 1e-9);
}

TEST(LogitStandardization, IsSound) { expect_sound(make("logit_standardization"), {.teacher = teacher()}); }

TEST(LogitStandardization, DoesNotSeeMeanAndSizeOfTheLogits) {
  const Given given{.teacher = teacher().to(at::kDouble)};
  const at::Tensor s = student().to(at::kDouble);
  const auto loss = make("logit_standardization");
  EXPECT_NEAR(value(loss, s * 5 - 3, {.teacher = given.teacher * 2 + 9}).item<double>(),
              value(loss, s, given).item<double>(), 1e-6);
}

}  // namespace
