// Tests of the loss "KD_NAME_HERE".
#include "kd/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "kd/plugin.h"
#include "kd/testing.h"

namespace {

at::Tensor value_of(const std::string& toml, const at::Tensor& student_logits, const at::Tensor& teacher_logits) {
  kd::load_plugins();
  const auto loss = kd::make<kd::Loss>(toml, {.classes = student_logits.size(1), .samples = student_logits.size(0)});
  const kd::Outputs student{.logits = student_logits, .taps = {}};
  const kd::Outputs teacher{.logits = teacher_logits, .taps = {}};
  const kd::Targets targets;
  const at::Tensor index;
  return (*loss)({.student = student, .teacher = &teacher, .targets = targets, .index = index, .time = {}});
}

// Numbers worked out by hand: (1² + 2² + 3² + 4²) / 4 · 2.
TEST(KdClassHere, IsTheScaledMeanOfSquares) {
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor student = at::tensor({1.0, 2.0, 3.0, 4.0}).view({2, 2}).to(device);
    const at::Tensor value = value_of("{ type = 'KD_NAME_HERE', scale = 2 }", student, student * 0);
    EXPECT_DOUBLE_EQ(value.item<double>(), 15.0);
  }
}

TEST(KdClassHere, GradientIsThatOfFiniteDifferences) {
  const at::Tensor teacher = kd::testing::normal({4, 5}, 1).to(at::kDouble);
  const auto loss = [&](const at::Tensor& student) { return value_of("{ type = 'KD_NAME_HERE' }", student, teacher); };
  EXPECT_LT(kd::testing::gradient_error(loss, kd::testing::normal({4, 5}, 2)), 1e-6);
}

TEST(KdClassHere, RefusesAScaleThatIsNotPositive) {
  kd::load_plugins();
  EXPECT_THROW(kd::make<kd::Loss>("{ type = 'KD_NAME_HERE', scale = 0 }", {}), kd::RecipeError);
}

}  // namespace
