// Tests of the loss "kdsvd"; its values are held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

const Shapes kSameChannels{network_shapes(2, 4), network_shapes(2, 8)};

TEST(Kdsvd, IsSound) {
  expect_sound("kdsvd", "", {equal(), kSameChannels});
  expect_sound("kdsvd", "matrix = 'columns', taps = ['stage1', 'stage2']", {wider(), narrower_and_larger()});
}

TEST(Kdsvd, OfTheSameMapsIsZero) {
  Setting setting("kdsvd", "", equal());
  setting.make_double();
  for (auto& [name, feature] : setting.teacher) feature = setting.student[name] * 3;  // vectors have no length
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-20);
}

TEST(Kdsvd, WantsEqualChannelsAndTwoMaps) {
  expect_refusal("kdsvd", "", wider(), "the feature 'stage1' has 2 channels in the student and 3 in the teacher");
  expect_refusal("kdsvd", "taps = ['stage1']", equal(), "needs 2 or more");
}

}  // namespace
