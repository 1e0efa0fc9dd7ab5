// Tests of the augmentation "random_crop".
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "crop.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"
#include "kd/testing/basics.h"

namespace {

constexpr kd::RandomKey kKey{12345};

kd::Batch batch_on(const at::Device& device, std::int64_t n, std::int64_t height = 6, std::int64_t width = 5) {
  kd::Batch batch = kd::testing::byte_batch(n, 3, height, width, 10);
  batch.images = batch.images.to(device);
  batch.index = batch.index.to(device);
  return batch;
}

/// Pixel by pixel.
at::Tensor reference(const at::Tensor& images, const at::Tensor& number, std::int64_t padding, std::uint8_t fill) {
  const at::Tensor result = images.clone();
  const auto in = images.accessor<std::uint8_t, 4>();
  auto out = result.accessor<std::uint8_t, 4>();
  for (std::int64_t n = 0; n < images.size(0); ++n) {
    const std::int64_t cut = number[n].item<std::int64_t>();
    for (std::int64_t c = 0; c < images.size(1); ++c) {
      for (std::int64_t y = 0; y < images.size(2); ++y) {
        for (std::int64_t x = 0; x < images.size(3); ++x) {
          const std::int64_t from_y = y + cut / (2 * padding + 1) - padding;
          const std::int64_t from_x = x + cut % (2 * padding + 1) - padding;
          const bool inside = from_y >= 0 && from_y < images.size(2) && from_x >= 0 && from_x < images.size(3);
          out[n][c][y][x] = inside ? in[n][c][from_y][from_x] : fill;
        }
      }
    }
  }
  return result;
}

TEST(RandomCrop, BothWaysEqualTheReferenceForEveryCut) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const std::int64_t padding : {0, 1, 4, 7}) {  // 7 is more than the image
      const std::int64_t cuts = (2 * padding + 1) * (2 * padding + 1);
      const kd::Batch batch = batch_on(device, cuts);
      const at::Tensor expected = reference(batch.images.cpu(), batch.index.cpu(), padding, 9);
      EXPECT_TRUE(crop::crop_by_index(batch.images, batch.index, padding, 9).cpu().equal(expected));
      if (device.is_cpu()) {
        EXPECT_TRUE(crop::crop_by_rows(batch.images, batch.index, padding, 9).equal(expected));
      }
    }
  }
}

TEST(RandomCrop, BothWaysAgreeOnFloatsAndOtherLayouts) {
  const kd::Batch batch = batch_on(at::kCPU, 9);
  const at::Tensor expected = reference(batch.images, batch.index, 1, 7).to(at::kFloat);
  const at::Tensor images = batch.images.to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_TRUE(crop::crop_by_rows(images, batch.index, 1, 7).equal(expected));
  EXPECT_TRUE(crop::crop_by_index(images, batch.index, 1, 7).equal(expected));
}

TEST(RandomCrop, NumbersTheViewItShows) {
  kd::load_plugins();
  const auto augmentation = kd::make<kd::Augmentation>("{ type = 'random_crop', padding = 2 }");
  EXPECT_EQ(augmentation->views(), 25);
  for (const at::Device& device : kd::testing::devices()) {
    kd::Batch batch = batch_on(device, 40);
    const at::Tensor images = batch.images.cpu();
    augmentation->apply(batch, kKey);
    const at::Tensor number = augmentation->view_numbers(batch.index, kKey);
    EXPECT_EQ(number.scalar_type(), at::kLong);
    EXPECT_TRUE(batch.images.cpu().equal(reference(images, number.cpu(), 2, 0)));
  }
}

TEST(RandomCrop, CutsAllImagesOfASampleAlike) {
  kd::load_plugins();
  kd::Batch batch = batch_on(at::kCPU, 16);
  batch.plain_images = batch.images.clone();
  batch.extra_views = {{"other", batch.images.clone()}};
  kd::make<kd::Augmentation>("{ type = 'random_crop' }")->apply(batch, kKey);
  EXPECT_TRUE(batch.plain_images.equal(batch.images));
  EXPECT_TRUE(batch.extra_views[0].images.equal(batch.images));
}

TEST(RandomCrop, DoesNotDependOnTheBatch) {
  kd::load_plugins();
  const auto augmentation = kd::make<kd::Augmentation>("{ type = 'random_crop' }");
  for (const at::Device& device : kd::testing::devices()) {
    kd::Batch whole = batch_on(device, 32);
    const at::Tensor order = (whole.index * 7 + 3).remainder(32).slice(0, 0, 20);
    kd::Batch part = whole;
    part.images = whole.images.index_select(0, order);
    part.index = whole.index.index_select(0, order);
    augmentation->apply(whole, kKey);
    augmentation->apply(part, kKey);
    EXPECT_TRUE(part.images.equal(whole.images.index_select(0, order)));
    const at::Tensor numbers = augmentation->view_numbers(whole.index, kKey);
    EXPECT_TRUE(augmentation->view_numbers(part.index, kKey).equal(numbers.index_select(0, order)));
    EXPECT_FALSE(augmentation->view_numbers(whole.index, kKey.with(1)).equal(numbers));
  }
}

TEST(RandomCrop, DrawsAllViewsEvenly) {
  kd::load_plugins();
  const at::Tensor numbers = kd::make<kd::Augmentation>("{ type = 'random_crop', padding = 4 }")
                                 ->view_numbers(at::arange(81 * 400, at::kLong), kKey);
  std::vector<double> counts(81, 0);
  for (std::int64_t i = 0; i < numbers.size(0); ++i) counts[numbers.const_data_ptr<std::int64_t>()[i]] += 1;
  double chi_square = 0;
  for (const double count : counts) chi_square += (count - 400) * (count - 400) / 400;
  // χ² with 80 degrees of freedom: 99.9 % of draws lie below 124.8, and as many above 46.5.
  EXPECT_LT(chi_square, 124.8);
  EXPECT_GT(chi_square, 46.5);
}

}  // namespace
