// Tests of the model "resnet50".
#include <cmath>

#include "kd/testing/networks.h"

namespace {

constexpr const char* kBasic = "{ type = 'resnet50', depth = 18 }";
constexpr const char* kBottleneck = "{ type = 'resnet50' }";

TEST(ResNet50, HasTheStateOfThePublishedCheckpoints) {
  kd::testing::expect_state(kBasic, KD_TESTDATA "/resnet18.txt", 11'220'132);
  kd::testing::expect_state(kBottleneck, KD_TESTDATA "/resnet50.txt", 23'705'252);
}

TEST(ResNet50, HasTheParametersOfResNet34) {
  // Torchvision's for 1000 classes has 21 797 672; a stem of 3×3 instead of 7×7 saves 64 · 3 · 40 weights.
  const auto model = kd::testing::make_network("{ type = 'resnet50', depth = 34 }",
                                               {.channels = 3, .height = 32, .width = 32, .classes = 1000});
  EXPECT_EQ(kd::testing::count_parameters(*model), 21'797'672 - 64 * 3 * 40);
}

TEST(ResNet50, OffersItsTapsInOrder) {
  EXPECT_EQ(kd::testing::describe_taps(kBottleneck, {.channels = 3, .height = 16, .width = 16, .classes = 100}),
            "stem 64x16x16\nstage1_pre 256x16x16\nstage1 256x16x16\nstage2_pre 512x8x8\nstage2 512x8x8\n"
            "stage3_pre 1024x4x4\nstage3 1024x4x4\nstage4_pre 2048x2x2\nstage4 2048x2x2\npooled 2048\nlogits 100\n");
  kd::testing::expect_activated_stages(kBasic);
  kd::testing::expect_taps_change_nothing(kBasic);
  kd::testing::expect_head(kBasic);
}

TEST(ResNet50, TakesImagesOfOtherSizes) {
  EXPECT_EQ(kd::testing::describe_taps(kBasic, {.channels = 1, .height = 28, .width = 21, .classes = 10}),
            "stem 64x28x21\nstage1_pre 64x28x21\nstage1 64x28x21\nstage2_pre 128x14x11\nstage2 128x14x11\n"
            "stage3_pre 256x7x6\nstage3 256x7x6\nstage4_pre 512x4x3\nstage4 512x4x3\npooled 512\nlogits 10\n");
}

TEST(ResNet50, StartsKaimingNormalOverTheFanOut) {
  const auto model = kd::testing::make_network(kBasic);
  EXPECT_NEAR(kd::testing::deviation_of(*model, "layer4.0.conv1.weight") / std::sqrt(2.0 / (9 * 512)), 1, 0.01);
  EXPECT_NEAR(kd::testing::deviation_of(*model, "layer4.0.shortcut.0.weight") / std::sqrt(2.0 / 512), 1, 0.01);
  EXPECT_TRUE(kd::testing::is_constant(*model, "layer4.0.bn2.weight", 1));
}

TEST(ResNet50, TrainsEveryParameter) { kd::testing::expect_training_step(kBasic); }

TEST(ResNet50, KeepsTheChannelsLastLayout) { kd::testing::expect_channels_last(kBasic); }

TEST(ResNet50, RunsInBfloat16) { kd::testing::expect_bfloat16(kBasic); }

TEST(ResNet50, RefusesWhatItCannotBe) {
  kd::testing::expect_refusal("{ type = 'resnet50', depth = 20 }", "depth = 20 is unknown; valid depths: 18, 34, 50");
  kd::testing::expect_refusal("{ type = 'resnet50', depth = 101 }", "depth");
}

TEST(ResNet50, TellsOfTheBatchNormsBehindItsFeatures) {
  kd::testing::expect_batch_norms(kBasic, 4);
  kd::testing::expect_batch_norms(kBottleneck, 4);
}

}  // namespace
