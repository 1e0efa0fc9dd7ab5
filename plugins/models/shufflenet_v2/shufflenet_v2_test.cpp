// Tests of the model "shufflenet_v2".
#include "../shared/shuffle_checks.h"

namespace {

constexpr const char* kNetwork = "{ type = 'shufflenet_v2' }";

TEST(ShuffleNetV2, HasTheStateOfThePublishedCheckpoint) {
  kd::testing::expect_state(kNetwork, KD_TESTDATA "/shufflenet_v2.txt", 1'355'528);
}

TEST(ShuffleNetV2, OffersItsTapsInOrder) {
  EXPECT_EQ(kd::testing::describe_taps(kNetwork),
            "stem 24x32x32\nstage1_pre 116x16x16\nstage1 116x16x16\nstage2_pre 232x8x8\nstage2 232x8x8\n"
            "stage3_pre 464x4x4\nstage3 464x4x4\npooled 1024\nlogits 100\n");
  kd::testing::expect_taps_change_nothing(kNetwork);
  kd::testing::expect_head(kNetwork);
}

TEST(ShuffleNetV2, TakesImagesOfOtherSizes) {
  EXPECT_EQ(kd::testing::describe_taps(kNetwork, {.channels = 1, .height = 28, .width = 21, .classes = 10}),
            "stem 24x28x21\nstage1_pre 116x14x11\nstage1 116x14x11\nstage2_pre 232x7x6\nstage2 232x7x6\n"
            "stage3_pre 464x4x3\nstage3 464x4x3\npooled 1024\nlogits 10\n");
}

TEST(ShuffleNetV2, ShufflesTheKeptHalfWithTheActivatedOther) {
  const auto model = kd::testing::make_network(kNetwork, kd::testing::kSmallImages);
  const kd::Taps taps = kd::testing::compute_taps(*model, kd::testing::make_images(kd::testing::kSmallImages, 2));
  for (const std::string stage : {"stage1", "stage2", "stage3"}) {
    const at::Tensor& before = taps.at(stage + "_pre");
    const at::Tensor& feature = taps.at(stage);
    const std::int64_t half = feature.size(1) / 2;
    EXPECT_LT(before.narrow(1, half, half).min().item<double>(), 0) << stage;
    for (std::int64_t i = 0; i < half; ++i) {
      EXPECT_TRUE(feature.select(1, 2 * i).equal(before.select(1, i))) << stage << ' ' << i;
      EXPECT_TRUE(feature.select(1, 2 * i + 1).equal(before.select(1, half + i).clamp_min(0))) << stage << ' ' << i;
    }
  }
}

TEST(ShuffleNetV2, StartsUniform) {
  const auto model = kd::testing::make_network(kNetwork);
  for (const std::string name : {"layer3.1.conv1.weight", "layer3.1.conv2.weight", "conv2.weight", "linear.weight"}) {
    kd::testing::expect_uniform_start(*model, name);
  }
}

TEST(ShuffleNetV2, TrainsEveryParameter) { kd::testing::expect_training_step(kNetwork); }

TEST(ShuffleNetV2, KeepsTheChannelsLastLayout) { kd::testing::expect_channels_last(kNetwork); }

TEST(ShuffleNetV2, RunsInBfloat16) {
  kd::testing::expect_bfloat16(kNetwork);
  kd::testing::expect_bfloat16_gradients(kNetwork);
}

}  // namespace
