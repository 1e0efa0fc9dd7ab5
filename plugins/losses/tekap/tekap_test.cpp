// Tests of the loss "tekap".
#include "kd/random_tensors.h"
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

Given given() { return {.teacher = teacher(), .targets = hard(kLabels)}; }

TEST(Tekap, FollowsTheDefinition) {
  const at::Tensor noise =
      kd::random_normal(kd::RandomKey{}.with("noise"), kd::testing::byte_batch(kRows, 1, 1, 1, 2).index, 2 * kClasses);
  const Rows p = softmax(student(), 3.0), q = softmax(teacher(), 3.0);
  double expected = 0.25 * 9 * mean_of_rows([&](std::size_t i) { return divergence(q[i], p[i]); });
  for (std::int64_t view = 0; view < 2; ++view) {
    const Rows noisy = softmax(
        teacher().to(at::kDouble) * 0.8 + noise.narrow(1, view * kClasses, kClasses).to(at::kDouble) * 0.2, 3.0);
    expected += 0.375 * 9 * mean_of_rows([&](std::size_t i) { return divergence(noisy[i], p[i]); });
  }
  constexpr double kRounding = 1e-8;  // the noise is of single precision, and a GPU's logarithm another than the CPU's
  expect_value(make("tekap", "temperature = 3, views = 2, noise = 0.2, share = 0.25"), given(), expected, student(),
               kRounding);
}

TEST(Tekap, IsSound) { expect_sound(make("tekap"), given()); }

TEST(Tekap, WithoutNoiseIsKd) {
  Given exact = given();
  exact.teacher = exact.teacher.to(at::kDouble);
  EXPECT_NEAR(value(make("tekap", "noise = 0"), student().to(at::kDouble), exact).item<double>(),
              value(make("kd", "temperature = 4"), student().to(at::kDouble), exact).item<double>(), 1e-12);
}

}  // namespace
