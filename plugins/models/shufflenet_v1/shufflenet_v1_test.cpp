// Tests of the model "shufflenet_v1".
#include "../shared/channel_shuffle.h"
#include "../shared/shuffle_checks.h"

namespace {

constexpr const char* kNetwork = "{ type = 'shufflenet_v1' }";

TEST(ChannelShuffle, TakesTurnsAmongTheGroupsInEitherLayout) {
  const at::Tensor x = kd::testing::normal({2, 6, 3, 2});
  const at::Tensor expected =
      at::stack({x.select(1, 0), x.select(1, 2), x.select(1, 4), x.select(1, 1), x.select(1, 3), x.select(1, 5)}, 1);
  EXPECT_TRUE(blocks::shuffle_channels(x, 3).equal(expected));
  EXPECT_TRUE(blocks::shuffle_channels(x, 1).equal(x));
  const at::Tensor last = blocks::shuffle_channels(x.contiguous(at::MemoryFormat::ChannelsLast), 3);
  EXPECT_TRUE(last.equal(expected));
  EXPECT_TRUE(last.is_contiguous(at::MemoryFormat::ChannelsLast));
}

TEST(ShuffleNetV1, HasTheStateOfThePublishedCheckpoint) {
  kd::testing::expect_state(kNetwork, KD_TESTDATA "/shufflenet_v1.txt", 949'258);
}

TEST(ShuffleNetV1, OffersItsTapsInOrder) {
  EXPECT_EQ(kd::testing::describe_taps(kNetwork),
            "stem 24x32x32\nstage1_pre 240x16x16\nstage1 240x16x16\nstage2_pre 480x8x8\nstage2 480x8x8\n"
            "stage3_pre 960x4x4\nstage3 960x4x4\npooled 960\nlogits 100\n");
  kd::testing::expect_activated_stages(kNetwork);
  kd::testing::expect_taps_change_nothing(kNetwork);
  kd::testing::expect_head(kNetwork);
}

TEST(ShuffleNetV1, TakesImagesOfOtherSizes) {
  EXPECT_EQ(kd::testing::describe_taps(kNetwork, {.channels = 1, .height = 28, .width = 21, .classes = 10}),
            "stem 24x28x21\nstage1_pre 240x14x11\nstage1 240x14x11\nstage2_pre 480x7x6\nstage2 480x7x6\n"
            "stage3_pre 960x4x3\nstage3 960x4x3\npooled 960\nlogits 10\n");
}

TEST(ShuffleNetV1, PutsTheAveragedInputBehindTheBranchThatHalvesIt) {
  const at::NoGradGuard no_gradient;
  const auto model = kd::testing::make_network(kNetwork, kd::testing::kSmallImages);
  auto weights = model->module()->named_parameters();
  // What the later units of the stage add is 0: the feature is the first unit's output.
  for (const std::string unit : {"0", "1", "2", "3"}) weights["layer1." + unit + ".bn3.weight"].zero_();
  const kd::Taps taps = kd::testing::compute_taps(*model, kd::testing::make_images(kd::testing::kSmallImages, 1));
  const at::Tensor stem = taps.at("stem");
  const at::Tensor stage = taps.at("stage1");
  EXPECT_EQ(stage.narrow(1, 0, 216).abs().max().item<double>(), 0);
  const at::Tensor shortcut = stage.narrow(1, 216, 24);
  // Windows of 3×3 around every second pixel; zeros outside the image count.
  EXPECT_LT(kd::testing::relative_difference(shortcut.select(2, 3).select(2, 5),
                                             stem.slice(2, 5, 8).slice(3, 9, 12).sum({2, 3}) / 9),
            1e-5);
  EXPECT_LT(kd::testing::relative_difference(shortcut.select(2, 0).select(2, 0),
                                             stem.slice(2, 0, 2).slice(3, 0, 2).sum({2, 3}) / 9),
            1e-5);
}

TEST(ShuffleNetV1, StartsUniform) {
  const auto model = kd::testing::make_network(kNetwork);
  for (const std::string name : {"layer3.1.conv1.weight", "layer3.1.conv2.weight", "linear.weight"}) {
    kd::testing::expect_uniform_start(*model, name);
  }
}

TEST(ShuffleNetV1, TrainsEveryParameter) { kd::testing::expect_training_step(kNetwork); }

TEST(ShuffleNetV1, KeepsTheChannelsLastLayout) { kd::testing::expect_channels_last(kNetwork); }

TEST(ShuffleNetV1, RunsInBfloat16) {
  kd::testing::expect_bfloat16(kNetwork);
  kd::testing::expect_bfloat16_gradients(kNetwork);
}

}  // namespace
