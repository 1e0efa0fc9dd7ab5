// Tests of the loss "KD_NAME_HERE", with logits and checks that the tests of losses share.
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

// Numbers worked out by hand: (1² + 2² + 3² + 4²) / 4 · 2.
TEST(KdClassHere, IsTheScaledMeanOfSquares) {
  const at::Tensor logits = matrix({{1, 2}, {3, 4}});
  expect_value(make("KD_NAME_HERE", "scale = 2"), {.teacher = logits * 0}, 15, logits);
}

// The definition in plain doubles, on every device and in both precisions.
TEST(KdClassHere, FollowsTheDefinition) {
  const Rows s = rows(student()), t = rows(teacher());
  const double expected = mean_of_rows([&](std::size_t i) {
    Row squares;
    for (std::size_t c = 0; c < s[i].size(); ++c) squares.push_back((s[i][c] - t[i][c]) * (s[i][c] - t[i][c]));
    return mean(squares);
  });
  expect_value(make("KD_NAME_HERE"), {.teacher = teacher()}, expected);
}

// Its gradient is that of finite differences, it is finite at extreme logits, computes in fp32 of bf16, and teaches the
// student alone.
TEST(KdClassHere, IsSound) { expect_sound(make("KD_NAME_HERE"), {.teacher = teacher()}); }

TEST(KdClassHere, RefusesAScaleThatIsNotPositive) { EXPECT_THROW(make("KD_NAME_HERE", "scale = 0"), kd::RecipeError); }

}  // namespace
