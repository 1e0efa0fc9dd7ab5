// Tests of the loss "itrd"; its values are held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

/// Of vectors of several samples: the logarithm of what is left of a perfect correlation is steep.
void expect_sound_with(const std::string& parameters) {
  for (const Shapes& shapes : {equal(), wider(), narrower_and_larger()}) {
    Setting setting("itrd", parameters, shapes, 6);
    expect_no_gradient_for_the_teacher(setting);
    if (parameters.find("correlation = 0") == std::string::npos) expect_exact_gradients(setting, 1e-5);
    for (const at::Device& device : kd::testing::devices()) {
      Setting half("itrd", parameters, shapes, 8);
      expect_bfloat16(half, device);
      for (const std::int64_t rows : {1, 2}) {
        for (const double factor : {0.0, 1e4}) {
          Setting extreme("itrd", parameters, shapes, rows);
          extreme.change([&](const at::Tensor& feature) { return feature * factor; }, device, at::kFloat);
          expect_finite(extreme, "extreme features");
        }
      }
    }
  }
}

TEST(InformationTheoretic, IsSound) {
  expect_sound_with("");
  expect_sound_with("alpha = 1.5, mutual = 0.05");
}

TEST(InformationTheoretic, OfEqualRelationsHasNoMutualPart) {
  Setting setting("itrd", "correlation = 0", equal(), 4);
  setting.make_double();
  setting.teacher["pooled"] = setting.teacher["pooled"] * 0 + 1;  // the teacher's kernel is 1 everywhere
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-12);
}

TEST(InformationTheoretic, WantsOneVector) {
  expect_refusal("itrd", "taps = ['stage3']", equal(), "the feature 'stage3' of the student is a map");
  expect_refusal("itrd", "taps = ['pooled', 'pooled']", equal(), "compares one feature");
}

}  // namespace
