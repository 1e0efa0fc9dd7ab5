// Tests of the model "mobilenet_v2".
#include <cmath>

#include "kd/testing/networks.h"

namespace {

constexpr const char* kHalf = "{ type = 'mobilenet_v2' }";

TEST(MobileNetV2, HasTheStateOfThePublishedCheckpoint) {
  kd::testing::expect_state(kHalf, KD_TESTDATA "/mobilenet_v2.txt", 812'836);
}

TEST(MobileNetV2, WidensAsThePaperDoes) {
  // Torchvision's network for 1000 classes has 3 504 872 parameters; it lacks the convolution that "expands" the first
  // block by 1 (32 · 32 weights, 64 of batch norm).
  const auto model = kd::testing::make_network("{ type = 'mobilenet_v2', width_mult = 1.0 }",
                                               {.channels = 3, .height = 32, .width = 32, .classes = 1000});
  EXPECT_EQ(kd::testing::count_parameters(*model), 3'504'872 + 32 * 32 + 64);
  const auto wide = kd::testing::make_network("{ type = 'mobilenet_v2', width_mult = 1.5, expansion = 2 }");
  const auto weights = wide->module()->named_parameters();
  EXPECT_EQ(weights["conv2.0.weight"].sizes(), (at::IntArrayRef{1920, 480, 1, 1}));
  EXPECT_EQ(weights["blocks.2.1.conv.0.weight"].sizes(), (at::IntArrayRef{96, 48, 1, 1}));
  const auto narrow = kd::testing::make_network("{ type = 'mobilenet_v2', width_mult = 0.35 }");
  EXPECT_EQ(narrow->module()->named_parameters()["blocks.1.0.conv.0.weight"].sizes(), (at::IntArrayRef{30, 5, 1, 1}));
}

TEST(MobileNetV2, OffersItsTapsInOrder) {
  EXPECT_EQ(kd::testing::describe_taps(kHalf),
            "stem 16x16x16\nstage1_pre 12x16x16\nstage1 12x16x16\nstage2_pre 16x8x8\nstage2 16x8x8\n"
            "stage3_pre 48x4x4\nstage3 48x4x4\nstage4_pre 160x2x2\nstage4 160x2x2\npooled 1280\nlogits 100\n");
}

TEST(MobileNetV2, TakesImagesOfOtherSizes) {
  EXPECT_EQ(kd::testing::describe_taps(kHalf, {.channels = 1, .height = 28, .width = 21, .classes = 10}),
            "stem 16x14x11\nstage1_pre 12x14x11\nstage1 12x14x11\nstage2_pre 16x7x6\nstage2 16x7x6\n"
            "stage3_pre 48x4x3\nstage3 48x4x3\nstage4_pre 160x2x2\nstage4 160x2x2\npooled 1280\nlogits 10\n");
}

TEST(MobileNetV2, EndsItsStagesWithoutAnActivation) {
  const auto model = kd::testing::make_network(kHalf, kd::testing::kSmallImages);
  const kd::Taps taps = kd::testing::compute_taps(*model, kd::testing::make_images(kd::testing::kSmallImages, 2));
  for (const std::string stage : {"stage1", "stage2", "stage3", "stage4"}) {
    EXPECT_LT(taps.at(stage).min().item<double>(), 0) << stage;
    EXPECT_TRUE(taps.at(stage).equal(taps.at(stage + "_pre"))) << stage;
  }
  EXPECT_GE(taps.at("stem").min().item<double>(), 0);
  kd::testing::expect_taps_change_nothing(kHalf);
  kd::testing::expect_head(kHalf);
}

TEST(MobileNetV2, AddsTheInputOfABlockThatKeepsItsShape) {
  const at::NoGradGuard no_gradient;
  const auto model = kd::testing::make_network(kHalf, kd::testing::kSmallImages);
  const at::Tensor images = kd::testing::make_images(kd::testing::kSmallImages, 2);
  auto weights = model->module()->named_parameters();
  // The last batch norm of a branch at 0 leaves the shortcut: nothing where the first block has none.
  weights["blocks.1.1.conv.7.weight"].zero_();
  EXPECT_GT(kd::testing::compute_taps(*model, images).at("stage1").abs().max().item<double>(), 0);
  weights["blocks.1.0.conv.7.weight"].zero_();
  EXPECT_EQ(kd::testing::compute_taps(*model, images).at("stage1").abs().max().item<double>(), 0);
  weights["blocks.1.0.conv.7.bias"].fill_(3);
  EXPECT_TRUE(kd::testing::compute_taps(*model, images).at("stage1").eq(3).all().item<bool>());
}

TEST(MobileNetV2, StartsAsTheBenchmarkDoes) {
  const auto model = kd::testing::make_network(kHalf);
  EXPECT_NEAR(kd::testing::deviation_of(*model, "conv2.0.weight") / std::sqrt(2.0 / 1280), 1, 0.01);
  EXPECT_NEAR(kd::testing::deviation_of(*model, "blocks.6.0.conv.3.weight") / std::sqrt(2.0 / (9 * 480)), 1, 0.05);
  EXPECT_NEAR(kd::testing::deviation_of(*model, "classifier.0.weight") / 0.01, 1, 0.02);
  EXPECT_TRUE(kd::testing::is_constant(*model, "classifier.0.bias", 0));
}

TEST(MobileNetV2, TrainsEveryParameter) { kd::testing::expect_training_step(kHalf); }

TEST(MobileNetV2, KeepsTheChannelsLastLayout) { kd::testing::expect_channels_last(kHalf); }

TEST(MobileNetV2, RunsInBfloat16) {
  kd::testing::expect_bfloat16(kHalf);
  kd::testing::expect_bfloat16_gradients(kHalf);
}

TEST(MobileNetV2, RefusesWhatItCannotBe) {
  kd::testing::expect_refusal("{ type = 'mobilenet_v2', width_mult = 0.05 }", "width_mult");
  kd::testing::expect_refusal("{ type = 'mobilenet_v2', expansion = 0 }", "expansion");
}

}  // namespace
