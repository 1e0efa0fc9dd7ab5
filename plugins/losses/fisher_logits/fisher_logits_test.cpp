// Tests of the loss "fisher_logits".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

double reference(bool full) {
  const Rows q = softmax(teacher()), s = rows(student()), t = rows(teacher());
  return mean_of_rows([&](std::size_t i) {
    double sum = 0;
    for (std::size_t a = 0; a < q[i].size(); ++a) {
      for (std::size_t b = 0; b < q[i].size(); ++b) {
        const double fisher = (a == b ? q[i][a] : 0) - q[i][a] * q[i][b];
        if (full || a == b) sum += (s[i][a] - t[i][a]) * fisher * (s[i][b] - t[i][b]) / 2;
      }
    }
    return sum;
  });
}

TEST(FisherLogits, FollowsTheDefinition) {
  const Given given{.teacher = teacher(), .targets = hard(kLabels)};
  expect_value(make("fisher_logits"), given, reference(true));
  expect_value(make("fisher_logits", "form = 'diagonal'"), given, reference(false));
}

TEST(FisherLogits, IsSound) {
  for (const auto* parameters : {"", "form = 'diagonal', temperature = 2"})
    expect_sound(make("fisher_logits", parameters), {.teacher = teacher(), .targets = mixed()});
}

TEST(FisherLogits, NearTheTeacherIsTheDivergence) {
  const at::Tensor t = teacher().to(at::kDouble), s = t + student().to(at::kDouble) * 1e-4;
  const Given given{.teacher = t, .targets = hard(kLabels)};
  const double divergence = value(make("kd", "temperature = 1"), s, given).item<double>();
  EXPECT_NEAR(value(make("fisher_logits"), s, given).item<double>() / divergence, 1, 1e-3);
}

}  // namespace
