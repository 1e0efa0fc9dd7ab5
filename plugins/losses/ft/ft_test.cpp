// Tests of the loss "ft"; its values are held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

bool is_trained(Setting& setting, const std::string& name) {
  return torch::autograd::grad({setting.value()}, {kd::testing::parameters_of(setting.loss()).at(name)}, {}, {}, false,
                               /*allow_unused=*/true)[0]
      .defined();
}

TEST(FactorTransfer, TrainsTheTranslatorAndLeavesTheParaphraser) {
  Setting setting("ft", "", wider());
  EXPECT_TRUE(is_trained(setting, "translator.0.weight"));
  EXPECT_FALSE(is_trained(setting, "paraphraser.0.weight"));
  Setting first("ft", "part = 'paraphraser'", wider());
  EXPECT_TRUE(is_trained(first, "paraphraser.0.weight"));
  EXPECT_EQ(kd::testing::parameters_of(first.loss()).count("translator.0.weight"), 0U);
  EXPECT_EQ(first.gradients().at("stage3").abs().max().item<double>(), 0);
}

TEST(FactorTransfer, ParaphraserLearnsTheTeachersMap) {
  Setting setting("ft", "part = 'paraphraser', rate = 1", equal());
  const double before = setting.value().item<double>();
  std::vector<at::Tensor> parameters;
  for (const auto& [name, parameter] : kd::testing::parameters_of(setting.loss())) parameters.push_back(parameter);
  for (int step = 0; step < 200; ++step) {
    const auto gradients = torch::autograd::grad({setting.value()}, parameters);
    const at::NoGradGuard no_gradient;
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].sub_(gradients[i], 0.5);
  }
  EXPECT_LT(setting.value().item<double>(), 0.7 * before);
}

/// The checks of every loss on features, but for the paraphraser's parameters, which the translator's stage leaves.
TEST(FactorTransfer, IsSound) {
  expect_sound("ft", "part = 'paraphraser'");
  for (const std::string form : {"factor", "channel_mean"}) {
    for (const Shapes& shapes : {equal(), wider(), narrower_and_larger(), wider_and_smaller()}) {
      Setting setting("ft", "form = '" + form + "'", shapes);
      expect_no_gradient_for_the_teacher(setting);
      expect_exact_gradients(setting, 1e-6, "paraphraser");
      for (const at::Device& device : kd::testing::devices()) {
        Setting half("ft", "form = '" + form + "'", shapes, 6);
        expect_bfloat16(half, device);
        Setting one("ft", "form = '" + form + "'", shapes, 1);
        one.change([](const at::Tensor& feature) { return feature * 0; }, device, at::kFloat);
        expect_finite(one, "one sample of zeros");
      }
    }
  }
}

TEST(FactorTransfer, ComparesOneFeature) {
  expect_refusal("ft", "taps = ['stage1', 'stage2']", equal(), "factor transfer compares one feature");
}

}  // namespace
