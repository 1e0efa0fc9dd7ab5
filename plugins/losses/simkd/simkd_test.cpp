// Tests of the loss "simkd".
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

/// A student with a map that was brought to the teacher's channels.
Shapes transferred(Shapes shapes) {
  shapes.student["transferred"] = {shapes.teacher.at("stage3")[0], 2, 2};
  return shapes;
}

TEST(SimKd, FollowsTheDefinition) {
  Setting setting("simkd", "", transferred({network_shapes(2, 8), network_shapes(3, 8)}));
  setting.make_double();
  const Numbers s = numbers(setting.student["transferred"]), t = numbers(setting.teacher["stage3"]);
  double sum = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t c = 0; c < 9; ++c) {
      for (std::size_t p = 0; p < 4; ++p) sum += (s[i][c][p] - t[i][c][p]) * (s[i][c][p] - t[i][c][p]);
    }
  }
  EXPECT_NEAR(setting.value().item<double>(), sum / (3 * 9 * 4), 1e-12);
}

TEST(SimKd, IsSound) {
  expect_sound("simkd", "", {transferred(equal()), transferred(wider()), transferred(narrower_and_larger())});
}

TEST(SimKd, NamesTheModelThatItWants) {
  expect_refusal("simkd", "taps = ['stage3']", wider(), "type = \"reused_classifier\", channels = 9");
}

}  // namespace
