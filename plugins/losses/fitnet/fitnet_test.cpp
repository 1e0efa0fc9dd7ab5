// Tests of the loss "fitnet"; its values are held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

TEST(FitNet, IsSound) {
  expect_sound("fitnet");
  expect_sound("fitnet", "taps = ['stage1', 'stage3_pre'], relu = false");
}

std::vector<std::int64_t> kernel(const Shapes& shapes) {
  Setting setting("fitnet", "", shapes);
  return kd::testing::parameters_of(setting.loss()).at("regressor1.0.weight").sizes().vec();
}

TEST(FitNet, ChoosesTheConvolutionByTheShapes) {
  const std::vector<std::int64_t> same{4, 4, 1, 1}, halving{6, 4, 3, 3}, doubling{6, 4, 4, 4}, shrinking{4, 4, 3, 3};
  EXPECT_EQ(kernel(equal()), same);
  EXPECT_EQ(kernel(wider_and_smaller()), halving);                               // 4×4 to 2×2
  EXPECT_EQ(kernel(narrower_and_larger()), doubling);                            // 2×2 to 4×4, transposed
  EXPECT_EQ(kernel({network_shapes(2, 16), network_shapes(2, 12)}), shrinking);  // 8×8 to 6×6
  EXPECT_EQ(kernel({network_shapes(2, 4), network_shapes(2, 12)}), same);        // 2×2 stays; 6×6 is averaged
}

TEST(FitNet, TrainsItsRegressor) {
  Setting setting("fitnet", "", wider());
  const auto parameters = kd::testing::parameters_of(setting.loss());
  ASSERT_EQ(parameters.size(), 4U);  // weight and bias of the convolution, scale and shift of the batch norm
  const double before = setting.value().item<double>();
  for (int step = 0; step < 100; ++step) {
    std::vector<at::Tensor> tensors;
    for (const auto& [name, parameter] : parameters) tensors.push_back(parameter);
    const auto gradients = torch::autograd::grad({setting.value()}, tensors);
    const at::NoGradGuard no_gradient;
    for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i].sub_(gradients[i], 0.3);
  }
  EXPECT_LT(setting.value().item<double>(), 0.8 * before);
}

}  // namespace
