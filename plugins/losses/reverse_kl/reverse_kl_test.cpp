// Tests of the loss "reverse_kl".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

TEST(ReverseKl, FollowsTheDefinition) {
  for (const double t : {1.0, 2.5}) {
    const Rows p = softmax(student(), t), q = softmax(teacher(), t);
    const double expected = t * t * mean_of_rows([&](std::size_t i) { return divergence(p[i], q[i]); });
    expect_value(make("reverse_kl", "temperature = " + std::to_string(t)), {.teacher = teacher()}, expected);
  }
}

TEST(ReverseKl, IsSound) { expect_sound(make("reverse_kl", "temperature = 2"), {.teacher = teacher()}); }

TEST(ReverseKl, IsSoftTargetsWithStudentAndTeacherExchanged) {
  const at::Tensor s = student().to(at::kDouble), t = teacher().to(at::kDouble);
  const at::Tensor exchanged = value(make("kd", "temperature = 3"), t, {.teacher = s});
  EXPECT_NEAR(value(make("reverse_kl", "temperature = 3"), s, {.teacher = t}).item<double>(), exchanged.item<double>(),
              1e-12);
}

}  // namespace
