// Tests of the loss "rescaled_logits".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

Rows rescaled_softmax(const at::Tensor& logits) {
  Rows result = rows(logits);
  for (Row& row : result) row = softmax(row, unbiased_deviation(row));
  return result;
}

TEST(RescaledLogits, FollowsTheDefinition) {
  const Rows p = rescaled_softmax(student()), q = rescaled_softmax(teacher());
  const double expected = mean_of_rows([&](std::size_t i) { return divergence(q[i], p[i]); });
  expect_value(make("rescaled_logits"), {.teacher = teacher()}, expected);
}

TEST(RescaledLogits, IsSound) { expect_sound(make("rescaled_logits"), {.teacher = teacher()}); }

TEST(RescaledLogits, IsStandardisationAtTemperatureOne) {
  const Given given{.teacher = teacher().to(at::kDouble)};
  const at::Tensor s = student().to(at::kDouble);
  const auto standardised_loss = make("kd", "temperature = 1, per_sample = 'standardized'");
  const at::Tensor difference = value(make("rescaled_logits"), s, given) - value(standardised_loss, s, given);
  EXPECT_LT(std::abs(difference.item<double>()), 1e-6);
  const at::Tensor gap = gradient(make("rescaled_logits"), s, given) - gradient(standardised_loss, s, given);
  EXPECT_LT(gap.abs().max().item<double>(), 1e-6);
}

TEST(RescaledLogits, DoesNotSeeTheSizeOfTheLogits) {
  const Given given{.teacher = teacher().to(at::kDouble)};
  const at::Tensor s = student().to(at::kDouble);
  const auto loss = make("rescaled_logits");
  EXPECT_NEAR(value(loss, s * 5, {.teacher = given.teacher * 0.1}).item<double>(), value(loss, s, given).item<double>(),
              1e-12);
  // A gradient along the logits themselves would say that σ is taken for a constant.
  EXPECT_LT((gradient(loss, s, given) * s).sum(1).abs().max().item<double>(), 1e-12);
}

}  // namespace
