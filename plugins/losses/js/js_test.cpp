// Tests of the loss "js".
#include <numbers>

#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

double jensen_shannon(const Row& p, const Row& q) {
  Row m;
  for (std::size_t c = 0; c < p.size(); ++c) m.push_back((p[c] + q[c]) / 2);
  return (divergence(p, m) + divergence(q, m)) / 2;
}

TEST(Js, FollowsTheDefinition) {
  for (const double t : {1.0, 4.0}) {
    const Rows p = softmax(student(), t), q = softmax(teacher(), t);
    const double expected = t * t * mean_of_rows([&](std::size_t i) { return jensen_shannon(p[i], q[i]); });
    expect_value(make("js", "temperature = " + std::to_string(t)), {.teacher = teacher()}, expected);
  }
}

TEST(Js, IsSound) {
  expect_sound(make("js"), {.teacher = teacher()});
  expect_sound(make("js", "temperature = 3"), {.teacher = teacher()});
}

TEST(Js, IsSymmetric) {
  const auto loss = make("js");
  const at::Tensor s = student().to(at::kDouble), t = teacher().to(at::kDouble);
  EXPECT_NEAR(value(loss, s, {.teacher = t}).item<double>(), value(loss, t, {.teacher = s}).item<double>(), 1e-14);
}

TEST(Js, LiesBetweenZeroAndTheLogarithmOfTwo) {
  const auto loss = make("js");
  EXPECT_NEAR(value(loss, teacher() + 2, {.teacher = teacher()}).item<double>(), 0, 1e-6);
  const at::Tensor one = matrix({{1e5, 0, 0}}), other = matrix({{0, 0, 1e5}});
  EXPECT_NEAR(value(loss, one, {.teacher = other}).item<double>(), std::numbers::ln2, 1e-14);
}

}  // namespace
