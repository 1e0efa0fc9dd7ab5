// Tests of the loss "vid"; its values are held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

TEST(Vid, IsSound) {
  expect_sound("vid");
  expect_sound("vid", "taps = ['stage2'], variance = 0.5");
}

TEST(Vid, WithTheVarianceOfTheErrorIsTheEntropyOfAGaussian) {
  Setting setting("vid", "taps = ['stage2']", wider());
  setting.make_double();
  const auto parameters = kd::testing::parameters_of(setting.loss());
  const at::NoGradGuard no_gradient;
  for (const auto& [name, parameter] : parameters) {
    if (name.starts_with("mean")) parameter.zero_();  // it predicts 0, so the error is the teacher's map
  }
  const at::Tensor variance = setting.teacher["stage2"].square().mean({0, 2, 3});
  parameters.at("variance1").copy_((variance - 1e-5).expm1().log());
  EXPECT_NEAR(setting.value().item<double>(), (variance.log().mean().item<double>() + 1) / 2, 1e-12);
}

TEST(Vid, BeginsWithTheDeclaredVariance) {
  Setting setting("vid", "taps = ['stage1'], variance = 5.0", equal());
  const double raw = kd::testing::parameters_of(setting.loss()).at("variance1").max().item<double>();
  EXPECT_NEAR(std::log1p(std::exp(raw)) + 1e-5, 5.0, 1e-5);
}

}  // namespace
