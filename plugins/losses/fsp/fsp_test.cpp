// Tests of the loss "fsp".
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

/// Mean over the places of f_a · f_b, of maps of one size.
double flow(const Numbers& a, const Numbers& b, std::size_t i, std::size_t channel_a, std::size_t channel_b) {
  double sum = 0;
  for (std::size_t p = 0; p < a[i][0].size(); ++p) sum += a[i][channel_a][p] * b[i][channel_b][p];
  return sum / double(a[i][0].size());
}

TEST(Fsp, FollowsTheDefinition) {
  Setting setting("fsp", "taps = ['stem', 'stage1']", equal());
  setting.make_double();
  const Numbers s0 = numbers(setting.student["stem"]), s1 = numbers(setting.student["stage1"]);
  const Numbers t0 = numbers(setting.teacher["stem"]), t1 = numbers(setting.teacher["stage1"]);
  double sum = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t a = 0; a < 2; ++a) {
      for (std::size_t b = 0; b < 2; ++b) {
        const double difference = flow(s0, s1, i, a, b) - flow(t0, t1, i, a, b);
        sum += difference * difference;
      }
    }
  }
  EXPECT_NEAR(setting.value().item<double>(), sum / 12, 1e-12);
}

TEST(Fsp, IsSound) { expect_sound("fsp", "", {equal(), {network_shapes(2, 4), network_shapes(2, 8)}}); }

TEST(Fsp, OfMapsInAnotherPlaceIsZero) {
  Setting setting("fsp", "", equal());
  setting.make_double();
  for (auto& [name, feature] : setting.teacher) {
    if (name != "logits") feature = setting.student[name].flip({2, 3});
  }
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-24);
}

TEST(Fsp, RefusesOtherChannelsAndASingleFeature) {
  expect_refusal("fsp", "", wider(), "the feature 'stem' has 2 channels in the student and 3 in the teacher");
  expect_refusal("fsp", "taps = ['stem']", equal(), "taps names 1 feature(s), and this loss needs 2 or more");
}

}  // namespace
