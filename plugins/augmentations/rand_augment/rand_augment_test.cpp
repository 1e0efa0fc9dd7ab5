// Tests of the augmentation "rand_augment"; the operations are tested in shared/image_operations_test.cpp.
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/where.h>

#include "kd/testing/augmentations.h"

namespace {

/// What becomes of `batch` by one operation of the given magnitude.
kd::Batch changed(const std::string& operation, int magnitude, kd::Batch batch) {
  const auto augmentation = kd::testing::make(
      "rand_augment", ", count = 1, magnitude = " + std::to_string(magnitude) + ", operations = ['" + operation + "']");
  augmentation->apply(batch, kd::testing::kKey);
  return batch;
}

/// That each sample is one of two images, and that both occur.
void expect_either(const at::Tensor& actual, const at::Tensor& one, const at::Tensor& other) {
  const at::Tensor is_one = actual.eq(one).flatten(1).all(1), is_other = actual.eq(other).flatten(1).all(1);
  EXPECT_TRUE(is_one.logical_or(is_other).all().item<bool>());
  EXPECT_GT(is_one.sum().item<std::int64_t>(), 5);
  EXPECT_GT(is_other.sum().item<std::int64_t>(), 5);
}

TEST(RandAugment, IsKeyedBySample) {
  for (const at::Device& device : kd::testing::devices()) {
    kd::testing::expect_keyed_by_sample(*kd::testing::make("rand_augment"),
                                        kd::testing::batch_on(device, 30, 3, 12, 10));
  }
}

TEST(RandAugment, HasTorchvisionsMagnitudes) {
  for (const at::Device& device : kd::testing::devices()) {
    const kd::Batch batch = kd::testing::batch_on(device, 40, 3, 32, 32);
    const at::Tensor images = batch.images;
    // int(150 / 331 · 32 · 9 / 30) = 4 pixels
    expect_either(changed("translate_x", 9, batch).images, at::constant_pad_nd(images, {4, -4}),
                  at::constant_pad_nd(images, {-4, 4}));
    expect_either(changed("translate_y", 9, batch).images, at::constant_pad_nd(images, {0, 0, 4, -4}),
                  at::constant_pad_nd(images, {0, 0, -4, 4}));
    const at::Tensor numbers = images.to(at::kDouble);
    expect_either(changed("brightness", 25, batch).images, (numbers * 1.75).floor().clamp_max(255).to(at::kByte),
                  (numbers * 0.25).floor().to(at::kByte));
    EXPECT_TRUE(changed("posterize", 30, batch).images.equal(images.bitwise_and(0xf0)));
    EXPECT_TRUE(changed("posterize", 9, batch).images.equal(images.bitwise_and(0xfe)));  // 8 − round(1.2) bits
    const at::Tensor inverted = 255 - images;
    EXPECT_TRUE(changed("solarize", 9, batch).images.equal(at::where(images.ge(179), inverted, images)));  // 178.5
    EXPECT_TRUE(changed("invert", 0, batch).images.equal(inverted));
    EXPECT_TRUE(changed("identity", 9, batch).images.equal(images));
  }
}

TEST(RandAugment, TurnsBothWays) {
  kd::Batch batch = kd::testing::even_batch(200, 1, 64, 64, 0);
  batch.images.narrow(3, 60, 4).fill_(255);
  const at::Tensor corner = changed("shear_x", 30, batch).images.select(2, 63).select(2, 43).gt(0);
  EXPECT_NEAR(corner.to(at::kDouble).mean().item<double>(), 0.5, 0.15);  // 0.3 · 64 = 19 columns to the left, or none
}

TEST(RandAugment, MakesItsCountOfOperations) {
  const kd::Batch before = kd::testing::batch_on(at::kCPU, 10, 3, 8, 8);
  for (const int count : {1, 2, 3}) {
    kd::Batch after = before;
    kd::testing::make("rand_augment", ", operations = ['invert'], count = " + std::to_string(count))
        ->apply(after, kd::testing::kKey);
    EXPECT_TRUE(after.images.equal(count % 2 == 0 ? before.images : 255 - before.images));
  }
}

TEST(RandAugment, DrawsOperationsEvenlyAndIndependently) {
  kd::Batch batch = kd::testing::even_batch(8000, 1, 1, 1, 10);
  kd::testing::make("rand_augment", ", operations = ['invert', 'identity', 'identity']")
      ->apply(batch, kd::testing::kKey);
  // Inverted once in two thirds of 2 · ⅓ · ⅔.
  EXPECT_NEAR(batch.images.eq(245).to(at::kDouble).mean().item<double>(), 4.0 / 9, 0.02);
}

TEST(RandAugment, RefusesWhatItCannotDo) {
  EXPECT_THROW(kd::testing::make("rand_augment", ", magnitude = 31"), kd::Error);
  EXPECT_THROW(kd::testing::make("rand_augment", ", operations = []"), kd::Error);
  try {
    kd::testing::make("rand_augment", ", operations = ['rotat']");
    FAIL();
  } catch (const kd::Error& error) {
    EXPECT_NE(std::string(error.what()).find("'rotate'"), std::string::npos) << error.what();
  }
  kd::Batch batch = kd::testing::batch_on(at::kCPU, 4, 3, 8, 8);
  batch.images = batch.images.to(at::kFloat);
  EXPECT_THROW(kd::testing::make("rand_augment")->apply(batch, kd::testing::kKey), kd::Error);
}

}  // namespace
