// Tests of the augmentation "cutout".
#include <algorithm>
#include <cmath>

#include "kd/testing/augmentations.h"

namespace {

TEST(Cutout, IsKeyedBySample) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const auto* parameters : {", side = 4", ", holes = 3, side = 3, fill = 7"}) {
      kd::testing::expect_keyed_by_sample(*kd::testing::make("cutout", parameters),
                                          kd::testing::batch_on(device, 30, 3, 9, 11));
    }
  }
}

/// Share of the middles for which a square of `side` covers `place`.
double covering_share(std::int64_t place, std::int64_t side, std::int64_t size) {
  double covering = 0;
  for (std::int64_t middle = 0; middle < size; ++middle) {
    const std::int64_t first = middle - side / 2;
    if (first <= place && place < first + side) covering += 1;
  }
  return covering / static_cast<double>(size);
}

TEST(Cutout, CutsSquaresAboutEveryPixelAlike) {
  for (const std::int64_t holes : {1, 2}) {
    for (const std::int64_t side : {4, 5}) {
      kd::Batch batch = kd::testing::even_batch(8000, 2, 8, 6, 1);
      kd::testing::make("cutout", ", holes = " + std::to_string(holes) + ", side = " + std::to_string(side))
          ->apply(batch, kd::testing::kKey);
      EXPECT_TRUE(batch.images.select(1, 0).equal(batch.images.select(1, 1)));
      const at::Tensor stays = batch.images.select(1, 0).to(at::kDouble).mean(0);
      for (std::int64_t y = 0; y < 8; ++y) {
        for (std::int64_t x = 0; x < 6; ++x) {
          const double missed = 1 - covering_share(y, side, 8) * covering_share(x, side, 6);
          EXPECT_NEAR(stays[y][x].item<double>(), std::pow(missed, static_cast<double>(holes)), 0.022);
        }
      }
    }
  }
}

TEST(Cutout, CutsOneRectangle) {
  kd::Batch batch = kd::testing::even_batch(50, 1, 12, 12, 1);
  kd::testing::make("cutout", ", side = 6")->apply(batch, kd::testing::kKey);
  for (std::int64_t n = 0; n < 50; ++n) {
    const at::Tensor hole = batch.images[n][0].eq(0);
    const auto rows = hole.any(1).sum().item<std::int64_t>(), columns = hole.any(0).sum().item<std::int64_t>();
    EXPECT_EQ(hole.sum().item<std::int64_t>(), rows * columns);
    EXPECT_LE(std::max(rows, columns), 6);
    EXPECT_GE(std::min(rows, columns), 3);
  }
}

TEST(Cutout, FillsWithItsValueAndLeavesTheRest) {
  for (const at::ScalarType type : {at::kByte, at::kFloat}) {
    kd::Batch batch = kd::testing::batch_on(at::kCPU, 20, 3, 9, 9);
    batch.images = batch.images.to(type);
    const at::Tensor before = batch.images.clone();
    kd::testing::make("cutout", ", side = 4, fill = 77")->apply(batch, kd::testing::kKey);
    const at::Tensor changed = batch.images.ne(before);
    EXPECT_GT(changed.to(at::kFloat).mean().item<double>(), 0.05);
    EXPECT_TRUE(batch.images.eq(77).logical_or(changed.logical_not()).all().item<bool>());
    EXPECT_EQ(batch.images.scalar_type(), type);
  }
}

}  // namespace
