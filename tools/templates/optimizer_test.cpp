// Tests of the optimizer "KD_NAME_HERE".
#include "kd/optimizer.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "kd/plugin.h"
#include "kd/testing/basics.h"

namespace {

/// What becomes of the parameter 1 with the gradient 4.
double stepped(const at::Device& device, const kd::OptimizerStep& step) {
  kd::load_plugins();
  const at::Tensor parameter = at::tensor({1.0}).to(device).requires_grad_(true);
  parameter.mutable_grad() = at::tensor({4.0}).to(device);
  kd::make<kd::Optimizer>("{ type = 'KD_NAME_HERE', lr = 0.25 }", {.parameters = {{"weight", parameter}}})->step(step);
  return parameter.item<double>();
}

TEST(KdClassHere, MovesDownTheGradient) {
  for (const at::Device& device : kd::testing::devices()) {
    EXPECT_DOUBLE_EQ(stepped(device, {}), 0.0);
    EXPECT_DOUBLE_EQ(stepped(device, {.factor = 0.5, .found_inf = {}}), 0.5);
  }
}

TEST(KdClassHere, AnOverflowSkipsTheStep) {
  for (const at::Device& device : kd::testing::devices()) {
    const auto flag = [&](float value) { return at::full({1}, value, at::TensorOptions().device(device)); };
    EXPECT_DOUBLE_EQ(stepped(device, {.factor = 1, .found_inf = flag(1)}), 1.0);
    EXPECT_DOUBLE_EQ(stepped(device, {.factor = 1, .found_inf = flag(0)}), 0.0);
  }
}

TEST(KdClassHere, LeavesParametersWithoutGradientAlone) {
  kd::load_plugins();
  const at::Tensor parameter = at::tensor({1.0}).requires_grad_(true);
  kd::make<kd::Optimizer>("{ type = 'KD_NAME_HERE' }", {.parameters = {{"weight", parameter}}})->step({});
  EXPECT_DOUBLE_EQ(parameter.item<double>(), 1.0);
}

}  // namespace
