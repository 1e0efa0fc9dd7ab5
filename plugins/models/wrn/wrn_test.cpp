// Tests of the model "wrn".
#include <cmath>

#include "kd/testing/networks.h"

namespace {

struct Published {
  const char* name;
  int depth, widen;
  std::int64_t parameters;
};

constexpr Published kPublished[] = {
    {"wrn_16_1", 16, 1, 180'916},
    {"wrn_16_2", 16, 2, 703'284},
    {"wrn_40_1", 40, 1, 569'780},
    {"wrn_40_2", 40, 2, 2'255'156},
};

constexpr const char* kSmall = "{ type = 'wrn', depth = 16, widen = 1 }";

std::string toml_of(int depth, int widen) {
  return "{ type = 'wrn', depth = " + std::to_string(depth) + ", widen = " + std::to_string(widen) + " }";
}

TEST(Wrn, HasTheStateOfThePublishedCheckpoints) {
  for (const Published& published : kPublished) {
    kd::testing::expect_state(toml_of(published.depth, published.widen),
                              std::string(KD_TESTDATA "/") + published.name + ".txt", published.parameters);
  }
  EXPECT_EQ(kd::testing::count_parameters(*kd::testing::make_network(toml_of(28, 2))), 1'479'220);
}

TEST(Wrn, OffersItsTapsInOrder) {
  EXPECT_EQ(kd::testing::describe_taps(toml_of(16, 2)),
            "stem 16x32x32\nstage1_pre 32x32x32\nstage1 32x32x32\nstage2_pre 64x16x16\nstage2 64x16x16\n"
            "stage3_pre 128x8x8\nstage3 128x8x8\npooled 128\nlogits 100\n");
}

TEST(Wrn, TakesImagesOfOtherSizes) {
  EXPECT_EQ(kd::testing::describe_taps(kSmall, {.channels = 1, .height = 28, .width = 21, .classes = 10}),
            "stem 16x28x21\nstage1_pre 16x28x21\nstage1 16x28x21\nstage2_pre 32x14x11\nstage2 32x14x11\n"
            "stage3_pre 64x7x6\nstage3 64x7x6\npooled 64\nlogits 10\n");
}

TEST(Wrn, NormalisesAStageByTheNextBatchNorm) {
  const auto model = kd::testing::make_network(kSmall, kd::testing::kSmallImages);
  const kd::Taps taps = kd::testing::compute_taps(*model, kd::testing::make_images(kd::testing::kSmallImages, 2));
  for (const std::string stage : {"stage1", "stage2", "stage3"}) {
    const at::Tensor& raw = taps.at(stage);
    const at::Tensor mean = raw.mean({0, 2, 3}, true);
    const at::Tensor variance = (raw - mean).square().mean({0, 2, 3}, true);
    EXPECT_LT(kd::testing::relative_difference(taps.at(stage + "_pre"), (raw - mean) / (variance + 1e-5).sqrt()), 1e-5);
  }
  EXPECT_LT(kd::testing::relative_difference(taps.at("pooled"), taps.at("stage3_pre").clamp_min(0).sum({2, 3}) / 16),
            1e-5);
  kd::testing::expect_taps_change_nothing(kSmall);
  kd::testing::expect_head(kSmall);
}

TEST(Wrn, DropsInTrainingOnlyAndByKey) {
  const at::NoGradGuard no_gradient;
  const auto model = kd::testing::make_network("{ type = 'wrn', dropout = 0.3 }", kd::testing::kSmallImages);
  const at::Tensor images = kd::testing::make_images(kd::testing::kSmallImages, 4);
  const auto compute = [&](std::uint64_t pass) {
    return model->forward(images, {.taps = nullptr, .key = kd::RandomKey{}.with(pass)});
  };
  const at::Tensor first = compute(1);
  EXPECT_TRUE(first.equal(compute(1)));
  EXPECT_GT(kd::testing::relative_difference(compute(2), first), 0.01);
  model->module()->eval();
  EXPECT_TRUE(compute(1).equal(compute(2)));
}

TEST(Wrn, DropsTheShareOfTheValuesThatItIsGiven) {
  // Dropout meets ones, the second convolution hands them on, and the shortcut adds nothing.
  const at::NoGradGuard no_gradient;
  const auto model = kd::testing::make_network("{ type = 'wrn', depth = 10, widen = 1, dropout = 0.3 }",
                                               {.channels = 1, .height = 64, .width = 64, .classes = 2});
  auto weights = model->module()->named_parameters();
  weights["conv1.weight"].zero_();
  weights["block1.layer.0.bn2.bias"].fill_(1);
  weights["block1.layer.0.conv2.weight"].zero_();
  for (std::int64_t i = 0; i < 16; ++i) weights["block1.layer.0.conv2.weight"][i][i][1][1] = 1;
  kd::Taps taps({"stage1"});
  model->forward(at::zeros({1, 1, 64, 64}), {.taps = &taps, .key = kd::RandomKey{}.with(3)});
  const at::Tensor values = taps.at("stage1");
  const at::Tensor kept = values.gt(0).to(at::kDouble);
  // 65 536 values: the share's deviation is 0.0018.
  EXPECT_NEAR(kept.mean().item<double>(), 0.7, 0.01);
  EXPECT_NEAR(values.max().item<double>(), 1 / 0.7, 1e-4);
}

TEST(Wrn, StartsKaimingNormalOverTheFanOut) {
  const auto model = kd::testing::make_network(toml_of(16, 2));
  EXPECT_NEAR(kd::testing::deviation_of(*model, "block3.layer.1.conv1.weight") / std::sqrt(2.0 / (9 * 128)), 1, 0.01);
  EXPECT_NEAR(kd::testing::deviation_of(*model, "block3.layer.0.convShortcut.weight") / std::sqrt(2.0 / 128), 1, 0.03);
  EXPECT_TRUE(kd::testing::is_constant(*model, "block2.layer.0.bn1.weight", 1));
  EXPECT_TRUE(kd::testing::is_constant(*model, "fc.bias", 0));
}

TEST(Wrn, TrainsEveryParameter) { kd::testing::expect_training_step(toml_of(16, 2)); }

TEST(Wrn, KeepsTheChannelsLastLayout) { kd::testing::expect_channels_last(kSmall); }

TEST(Wrn, RunsInBfloat16) { kd::testing::expect_bfloat16(kSmall); }

TEST(Wrn, RefusesWhatItCannotBe) {
  kd::testing::expect_refusal(toml_of(20, 2), "depth = 20 is not 6n + 4; valid depths: 10, 16, 22, 28, 34, 40");
  kd::testing::expect_refusal(toml_of(4, 2), "depth");
  kd::testing::expect_refusal(toml_of(16, 0), "widen");
  kd::testing::expect_refusal("{ type = 'wrn', dropout = 1.0 }", "dropout");
}

TEST(Wrn, TellsOfTheBatchNormsBehindItsFeatures) { kd::testing::expect_batch_norms(kSmall, 3, /*sum=*/false); }

}  // namespace
