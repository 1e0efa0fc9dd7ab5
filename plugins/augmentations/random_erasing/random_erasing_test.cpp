// Tests of the augmentation "random_erasing".
#include <algorithm>
#include <cmath>

#include "kd/testing/augmentations.h"

namespace {

struct Box {
  std::int64_t top, left, rows, columns;
  std::int64_t area;  ///< erased pixels
};

/// What is 0 in an image of ones.
Box erased_box(const at::Tensor& image) {
  const at::Tensor erased = image[0].eq(0);
  const at::Tensor rows = erased.any(1), columns = erased.any(0);
  return {rows.to(at::kByte).argmax().item<std::int64_t>(), columns.to(at::kByte).argmax().item<std::int64_t>(),
          rows.sum().item<std::int64_t>(), columns.sum().item<std::int64_t>(), erased.sum().item<std::int64_t>()};
}

TEST(RandomErasing, IsKeyedBySample) {
  for (const at::Device& device : kd::testing::devices()) {
    kd::Batch batch = kd::testing::batch_on(device, 30, 3, 9, 11);
    kd::testing::expect_keyed_by_sample(*kd::testing::make("random_erasing"), batch);
    batch.images = batch.images.to(at::kFloat);
    kd::testing::expect_keyed_by_sample(*kd::testing::make("random_erasing", ", fill = 'noise'"), batch);
  }
}

TEST(RandomErasing, ErasesBoxesOfTheGivenSizesEverywhere) {
  constexpr std::int64_t kHeight = 40, kWidth = 60;
  kd::Batch batch = kd::testing::even_batch(1500, 1, kHeight, kWidth, 1);
  kd::testing::make("random_erasing", ", probability = 1, scale = [0.05, 0.2], ratio = [1.0, 3.0]")
      ->apply(batch, kd::testing::kKey);
  double log_ratio = 0, area = 0;
  std::int64_t at_top = 0, at_bottom = 0, at_left = 0, at_right = 0;
  for (std::int64_t n = 0; n < 1500; ++n) {
    const Box box = erased_box(batch.images[n]);
    ASSERT_EQ(box.area, box.rows * box.columns);
    const auto share = static_cast<double>(box.area) / (kHeight * kWidth);
    const double ratio = static_cast<double>(box.rows) / static_cast<double>(box.columns);
    ASSERT_TRUE(share > 0.045 && share < 0.21 && ratio > 0.9 && ratio < 3.4);  // sides are rounded
    area += share / 1500;
    log_ratio += std::log(ratio) / 1500;
    at_top += box.top == 0, at_bottom += box.top + box.rows == kHeight;
    at_left += box.left == 0, at_right += box.left + box.columns == kWidth;
  }
  EXPECT_NEAR(area, 0.125, 0.004);
  EXPECT_NEAR(log_ratio, std::log(3) / 2, 0.03);
  for (const std::int64_t count : {at_top, at_bottom, at_left, at_right}) EXPECT_GT(count, 10);
}

TEST(RandomErasing, ErasesWithItsProbability) {
  kd::Batch batch = kd::testing::even_batch(1500, 1, 12, 12, 1);
  kd::testing::make("random_erasing", ", probability = 0.3")->apply(batch, kd::testing::kKey);
  EXPECT_NEAR(batch.images.eq(0).flatten(1).any(1).to(at::kDouble).mean().item<double>(), 0.3, 0.04);
}

TEST(RandomErasing, TriesAgainWhereABoxDoesNotFit) {
  kd::Batch batch = kd::testing::even_batch(2000, 1, 12, 12, 1);
  // Of boxes of 72 pixels, one in two has a side of 12 or more.
  kd::testing::make("random_erasing", ", probability = 1, scale = [0.5, 0.5]")->apply(batch, kd::testing::kKey);
  EXPECT_GT(batch.images.eq(0).flatten(1).any(1).to(at::kDouble).mean().item<double>(), 0.995);
  kd::Batch never = kd::testing::even_batch(50, 1, 12, 12, 1);
  kd::testing::make("random_erasing", ", probability = 1, scale = [1.0, 1.0]")->apply(never, kd::testing::kKey);
  EXPECT_TRUE(never.images.eq(1).all().item<bool>());
}

TEST(RandomErasing, FillsWithNoiseOrAValue) {
  kd::Batch batch = kd::testing::even_batch(150, 3, 20, 20, 0);
  batch.images = batch.images.to(at::kFloat) + 50;
  kd::Batch noisy = batch;
  kd::testing::make("random_erasing", ", probability = 1, fill = 'noise'")->apply(noisy, kd::testing::kKey);
  const at::Tensor noise = noisy.images.masked_select(noisy.images.lt(25)).to(at::kDouble);
  EXPECT_GT(noise.numel(), 10000);
  EXPECT_NEAR(noise.mean().item<double>(), 0, 0.03);
  EXPECT_NEAR(noise.std().item<double>(), 1, 0.03);
  kd::testing::make("random_erasing", ", probability = 1, value = -2.5")->apply(batch, kd::testing::kKey);
  EXPECT_TRUE(batch.images.lt(25).equal(batch.images.eq(-2.5)));
}

TEST(RandomErasing, RefusesNoiseOnBytesAndWrongRanges) {
  kd::Batch batch = kd::testing::batch_on(at::kCPU, 4, 3, 8, 8);
  EXPECT_THROW(kd::testing::make("random_erasing", ", fill = 'noise'")->apply(batch, kd::testing::kKey), kd::Error);
  for (const auto* wrong :
       {", scale = [0.5]", ", scale = [0.5, 0.2]", ", scale = [0.5, 1.5]", ", ratio = [0.0, 1.0]"}) {
    EXPECT_THROW(kd::testing::make("random_erasing", wrong), kd::Error) << wrong;
  }
}

}  // namespace
