// Tests of the augmentation "random_rotation"; the rotation itself is tested in shared/image_operations_test.cpp.
#include <ATen/ops/arange.h>
#include <ATen/ops/atan2.h>

#include <cmath>
#include <numbers>

#include "kd/testing/augmentations.h"

namespace {

TEST(RandomRotation, IsKeyedBySample) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const auto* parameters : {"", ", degrees = 180, interpolation = 'bilinear', fill = 9"}) {
      kd::testing::expect_keyed_by_sample(*kd::testing::make("random_rotation", parameters),
                                          kd::testing::batch_on(device, 30, 3, 9, 11));
    }
  }
}

/// The direction in degrees, counter-clockwise, in which the bright spot of each image lies from its middle.
at::Tensor directions(const at::Tensor& images) {
  const std::int64_t size = images.size(2);
  const at::Tensor place = at::arange(size, at::kDouble) - static_cast<double>(size - 1) / 2;
  const at::Tensor weight = images.select(1, 0).to(at::kDouble);
  return at::atan2(-(weight.sum(2) * place).sum(1), (weight.sum(1) * place).sum(1)) * (180 / std::numbers::pi);
}

TEST(RandomRotation, DrawsAnglesEvenly) {
  for (const at::Device& device : kd::testing::devices()) {
    kd::Batch batch = kd::testing::even_batch(1500, 1, 41, 41, 0);
    batch.images.narrow(2, 19, 3).narrow(3, 36, 3).fill_(255);
    batch.images = batch.images.to(device);
    batch.index = batch.index.to(device);
    kd::testing::make("random_rotation", ", degrees = 30")->apply(batch, kd::testing::kKey);
    const at::Tensor angles = directions(batch.images.cpu());
    EXPECT_LT(angles.abs().max().item<double>(), 31.5);
    EXPECT_NEAR(angles.mean().item<double>(), 0, 1.5);
    EXPECT_NEAR(angles.square().mean().item<double>(), 300, 25);  // 30² / 3
  }
}

TEST(RandomRotation, LeavesImagesAtNoDegreesAndFillsTheCorners) {
  kd::Batch batch = kd::testing::batch_on(at::kCPU, 10, 3, 8, 8);
  const at::Tensor before = batch.images.clone();
  kd::testing::make("random_rotation", ", degrees = 0")->apply(batch, kd::testing::kKey);
  EXPECT_TRUE(batch.images.equal(before));
  kd::Batch even = kd::testing::even_batch(40, 1, 20, 20, 200);
  kd::testing::make("random_rotation", ", degrees = 45, fill = 9")->apply(even, kd::testing::kKey);
  EXPECT_TRUE(even.images.eq(200).logical_or(even.images.eq(9)).all().item<bool>());
  EXPECT_GT(even.images.select(2, 0).select(2, 0).eq(9).to(at::kDouble).mean().item<double>(), 0.7);
}

TEST(RandomRotation, RefusesFloats) {
  kd::Batch batch = kd::testing::batch_on(at::kCPU, 4, 3, 8, 8);
  batch.images = batch.images.to(at::kFloat);
  EXPECT_THROW(kd::testing::make("random_rotation")->apply(batch, kd::testing::kKey), kd::Error);
}

}  // namespace
