// Tests of the model "vgg".
#include <cmath>

#include "kd/testing/networks.h"

namespace {

struct Published {
  int depth;
  std::int64_t parameters;
};

constexpr Published kPublished[] = {
    {8, 3'965'028}, {11, 9'277'284}, {13, 9'462'180}, {16, 14'774'436}, {19, 20'086'692}};

constexpr const char* kSmall = "{ type = 'vgg' }";

std::string toml_of(int depth) { return "{ type = 'vgg', depth = " + std::to_string(depth) + " }"; }

TEST(Vgg, HasTheStateOfThePublishedCheckpoints) {
  for (const Published& published : kPublished) {
    kd::testing::expect_state(toml_of(published.depth), KD_TESTDATA "/vgg" + std::to_string(published.depth) + ".txt",
                              published.parameters);
  }
}

TEST(Vgg, OffersItsTapsInOrder) {
  EXPECT_EQ(kd::testing::describe_taps(kSmall),
            "stem 64x32x32\nstage1_pre 128x16x16\nstage1 128x16x16\nstage2_pre 256x8x8\nstage2 256x8x8\n"
            "stage3_pre 512x4x4\nstage3 512x4x4\nstage4_pre 512x4x4\nstage4 512x4x4\npooled 512\nlogits 100\n");
  kd::testing::expect_activated_stages(kSmall);
  kd::testing::expect_taps_change_nothing(kSmall);
  kd::testing::expect_head(kSmall);
}

TEST(Vgg, TakesImagesOfOtherSizes) {
  EXPECT_EQ(kd::testing::describe_taps(kSmall, {.channels = 1, .height = 8, .width = 28, .classes = 10}),
            "stem 64x8x28\nstage1_pre 128x4x14\nstage1 128x4x14\nstage2_pre 256x2x7\nstage2 256x2x7\n"
            "stage3_pre 512x1x3\nstage3 512x1x3\nstage4_pre 512x1x3\nstage4 512x1x3\npooled 512\nlogits 10\n");
}

TEST(Vgg, HalvesLargeImagesOnceMore) {
  const std::string taps =
      kd::testing::describe_taps(kSmall, {.channels = 3, .height = 64, .width = 64, .classes = 10});
  EXPECT_NE(taps.find("stage3 512x8x8\nstage4_pre 512x4x4\n"), std::string::npos) << taps;
}

TEST(Vgg, TakesTheLargestOfEachSquareBetweenBlocks) {
  const auto model = kd::testing::make_network(kSmall, kd::testing::kSmallImages);
  model->module()->eval();
  const kd::Taps taps = kd::testing::compute_taps(*model, kd::testing::make_images(kd::testing::kSmallImages, 1));
  const at::Tensor stem = taps.at("stem");
  const at::Tensor halved = stem.reshape({1, 64, 8, 2, 8, 2}).amax({3, 5});
  const auto weights = model->module()->named_parameters();
  // Batch norm that has seen nothing divides by sqrt(1 + 1e-5) alone.
  const at::Tensor expected = at::conv2d(halved, weights["block1.0.weight"], {}, 1, 1) / std::sqrt(1 + 1e-5);
  EXPECT_LT(kd::testing::relative_difference(taps.at("stage1_pre"), expected), 1e-5);
  EXPECT_LT(kd::testing::relative_difference(taps.at("pooled"), taps.at("stage4").sum({2, 3}) / 4), 1e-5);
}

TEST(Vgg, StartsAsTheBenchmarkDoes) {
  const auto model = kd::testing::make_network(kSmall);
  EXPECT_NEAR(kd::testing::deviation_of(*model, "block3.0.weight") / std::sqrt(2.0 / (9 * 512)), 1, 0.01);
  EXPECT_NEAR(kd::testing::deviation_of(*model, "classifier.weight") / 0.01, 1, 0.02);
  for (const std::string name : {"block3.0.bias", "block3.1.bias", "classifier.bias"}) {
    EXPECT_TRUE(kd::testing::is_constant(*model, name, 0)) << name;
  }
}

TEST(Vgg, TrainsEveryParameter) { kd::testing::expect_training_step(kSmall, /*training=*/false); }

TEST(Vgg, KeepsTheChannelsLastLayout) { kd::testing::expect_channels_last(kSmall); }

TEST(Vgg, RunsInBfloat16) { kd::testing::expect_bfloat16(kSmall); }

TEST(Vgg, RefusesWhatItCannotBe) {
  kd::testing::expect_refusal(toml_of(12), "depth = 12 is unknown; valid depths: 8, 11, 13, 16, 19");
  kd::testing::expect_refusal(toml_of(20), "depth");
  kd::testing::expect_refusal(kSmall, "they must be 8 × 8 or larger, and are 28 × 7",
                              {.channels = 3, .height = 28, .width = 7, .classes = 10});
}

TEST(Vgg, TellsOfTheBatchNormsBehindItsFeatures) { kd::testing::expect_batch_norms(kSmall, 4, /*sum=*/false); }

}  // namespace
