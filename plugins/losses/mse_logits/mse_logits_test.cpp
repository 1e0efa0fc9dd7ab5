// Tests of the loss "mse_logits".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

/// Σ over classes of (z_s − z_t)².
double squared_distance(std::size_t i) {
  const Row s = rows(student())[i], t = rows(teacher())[i];
  double sum = 0;
  for (std::size_t c = 0; c < s.size(); ++c) sum += (s[c] - t[c]) * (s[c] - t[c]);
  return sum;
}

TEST(MseLogits, FollowsTheDefinition) {
  const double expected = mean_of_rows(squared_distance);
  expect_value(make("mse_logits"), {.teacher = teacher()}, expected / kClasses);
  expect_value(make("mse_logits", "reduction = 'batchmean'"), {.teacher = teacher()}, expected);
}

TEST(MseLogits, IsSound) {
  for (const auto* reduction : {"mean", "batchmean"}) {
    expect_sound(make("mse_logits", std::string("reduction = '") + reduction + "'"), {.teacher = teacher()});
  }
}

TEST(MseLogits, IsTwiceTheLimitOfSoftTargetsOnCentredLogits) {
  const auto centred = [](const at::Tensor& z) { return z.to(at::kDouble) - z.to(at::kDouble).mean(1, true); };
  const Given given{.teacher = centred(teacher())};
  const double squares = value(make("mse_logits"), centred(student()), given).item<double>();
  const auto error = [&](const std::string& temperature) {
    const auto kd = make("kd", "temperature = " + temperature);
    return std::abs(2 * value(kd, centred(student()), given).item<double>() - squares);
  };
  EXPECT_LT(error("1e3"), 0.05);
  EXPECT_LT(error("1e4"), 0.2 * error("1e3"));  // the remainder falls as 1/T
}

}  // namespace
