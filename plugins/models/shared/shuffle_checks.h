// What the tests of the ShuffleNets share.
#pragma once

#include <cmath>

#include "kd/testing/networks.h"

namespace kd::testing {

/// The weights of the convolution `name` fill the interval ±sqrt(1 / inputs of one output), PyTorch's start.
inline void expect_uniform_start(kd::Model& model, const std::string& name) {
  const at::Tensor weight = model.module()->named_parameters()[name].detach();
  const double bound = 1 / std::sqrt(static_cast<double>(weight[0].numel()));
  EXPECT_LE(weight.abs().max().item<double>(), bound) << name;
  EXPECT_GT(weight.abs().max().item<double>(), 0.95 * bound) << name;
  EXPECT_NEAR(weight.std().item<double>(), bound / std::sqrt(3.0), 0.05 * bound) << name;
}

}  // namespace kd::testing
