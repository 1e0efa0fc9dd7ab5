// Tests of the augmentation "gaussian_noise".
#include "kd/testing/augmentations.h"

namespace {

TEST(GaussianNoise, IsKeyedBySample) {
  for (const at::Device& device : kd::testing::devices()) {
    kd::testing::expect_keyed_by_sample(*kd::testing::make("gaussian_noise"),
                                        kd::testing::batch_on(device, 20, 3, 9, 11));
  }
}

TEST(GaussianNoise, AddsNormalNoiseOfTheDeviation) {
  for (const at::Device& device : kd::testing::devices()) {
    kd::Batch batch = kd::testing::batch_on(device, 100, 3, 20, 20);
    const at::Tensor before = batch.images.to(at::kDouble) / 255;
    kd::testing::make("gaussian_noise", ", deviation = 0.2")->apply(batch, kd::testing::kKey);
    const at::Tensor noise = (batch.images.to(at::kDouble) - before) / 0.2;
    EXPECT_NEAR(noise.mean().item<double>(), 0, 0.012);
    EXPECT_NEAR(noise.square().mean().item<double>(), 1, 0.02);
    EXPECT_NEAR(noise.pow(4).mean().item<double>(), 3, 0.15);
  }
}

TEST(GaussianNoise, RepeatsNothingInLargeImages) {
  kd::Batch batch = kd::testing::even_batch(2, 1, 128, 256, 0);
  kd::testing::make("gaussian_noise", ", deviation = 1")->apply(batch, kd::testing::kKey);
  const at::Tensor noise = batch.images.view({4, -1}).to(at::kDouble);
  for (std::int64_t i = 0; i < 4; ++i) {
    for (std::int64_t j = 0; j < i; ++j) EXPECT_NEAR((noise[i] * noise[j]).mean().item<double>(), 0, 0.04);
  }
}

TEST(GaussianNoise, ClipsWhereAsked) {
  kd::Batch batch = kd::testing::batch_on(at::kCPU, 10, 3, 8, 8), clipped = batch;
  kd::testing::make("gaussian_noise", ", deviation = 0.5")->apply(batch, kd::testing::kKey);
  kd::testing::make("gaussian_noise", ", deviation = 0.5, clip = true")->apply(clipped, kd::testing::kKey);
  EXPECT_LT(batch.images.min().item<double>(), 0);
  EXPECT_TRUE(clipped.images.equal(batch.images.clamp(0, 1)));
}

}  // namespace
