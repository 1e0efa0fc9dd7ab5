// Tests of the loss "ofd"; its values are held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

TEST(Overhaul, IsSound) {
  expect_sound("ofd");
  expect_sound("ofd", "margin = 'none', taps = ['stage2_pre']");
}

TEST(Overhaul, AsksNothingWhereBothAreBelowTheMargin) {
  Setting setting("ofd", "taps = ['stage1_pre'], margin = 'none'", equal());
  setting.make_double();
  const auto parameters = kd::testing::parameters_of(setting.loss());
  const at::NoGradGuard no_gradient;
  parameters.at("connector1.1.weight").fill_(0);  // the connector answers its shift
  parameters.at("connector1.1.bias").fill_(-5);
  setting.teacher["stage1_pre"] = setting.teacher["stage1_pre"] * 0 - 1;
  EXPECT_EQ(setting.value().item<double>(), 0);
  parameters.at("connector1.1.bias").fill_(1);
  EXPECT_NEAR(setting.value().item<double>(), 2 * 16 * 4, 1e-9);  // channels · places · (1 − −1)²
}

TEST(Overhaul, RaisesTheTeacherToTheMeanOfWhatIsNegative) {
  Setting setting("ofd", "taps = ['stage1_pre']", equal());
  setting.make_double();
  const auto parameters = kd::testing::parameters_of(setting.loss());
  const at::NoGradGuard no_gradient;
  parameters.at("connector1.1.weight").fill_(0);
  parameters.at("connector1.1.bias").fill_(0);
  setting.teacher["stage1_pre"] = setting.teacher["stage1_pre"] * 0 - 100;
  LinearHead head(6);
  head.shapes = equal().teacher;
  const kd::BatchNormAffine norm = head.batch_norm("stage1_pre");
  double expected = 0;
  for (std::int64_t c = 0; c < 2; ++c) {
    const double sigma = norm.scale[c].item<double>(), mu = norm.shift[c].item<double>();
    double mass = 0, mean = 0;  // by summation over the density below 0
    for (double x = -40; x < 0; x += 1e-4) {
      const double density = std::exp(-(x - mu) * (x - mu) / (2 * sigma * sigma));
      mass += density;
      mean += x * density;
    }
    expected += 16 * (mean / mass) * (mean / mass);
  }
  EXPECT_NEAR(setting.value().item<double>(), expected, 1e-3 * expected);
}

}  // namespace
