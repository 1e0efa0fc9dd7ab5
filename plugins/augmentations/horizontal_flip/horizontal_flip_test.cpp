// Tests of the augmentation "horizontal_flip".
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include "flip.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"

namespace {

constexpr kd::RandomKey kKey{777};

std::unique_ptr<kd::Augmentation> make(const std::string& parameters = "") {
  kd::load_plugins();
  return kd::make<kd::Augmentation>("{ type = 'horizontal_flip'" + parameters + " }");
}

kd::Batch batch_on(const at::Device& device, std::int64_t n) {
  kd::Batch batch = kd::testing::byte_batch(n, 3, 4, 5, 10);
  batch.images = batch.images.to(device);
  batch.index = batch.index.to(device);
  return batch;
}

/// Pixel by pixel, where `flipped` is not 0.
at::Tensor reference(const at::Tensor& images, const at::Tensor& flipped) {
  const at::Tensor result = images.clone();
  const auto in = images.accessor<std::uint8_t, 4>();
  auto out = result.accessor<std::uint8_t, 4>();
  for (std::int64_t n = 0; n < images.size(0); ++n) {
    if (flipped[n].item<std::int64_t>() == 0) continue;
    for (std::int64_t c = 0; c < images.size(1); ++c) {
      for (std::int64_t y = 0; y < images.size(2); ++y) {
        for (std::int64_t x = 0; x < images.size(3); ++x) out[n][c][y][x] = in[n][c][y][images.size(3) - 1 - x];
      }
    }
  }
  return result;
}

TEST(HorizontalFlip, BothWaysEqualTheReference) {
  for (const at::Device& device : kd::testing::devices()) {
    const kd::Batch batch = batch_on(device, 9);
    const at::Tensor flips = batch.index.remainder(3).eq(1);
    const at::Tensor expected = reference(batch.images.cpu(), flips.to(at::kCPU, at::kLong));
    for (const auto& images : {batch.images, batch.images.to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast)}) {
      const at::Tensor wanted = expected.to(images.scalar_type());
      EXPECT_TRUE(flip::flip_by_choice(images, flips).cpu().equal(wanted));
      if (device.is_cpu()) {
        EXPECT_TRUE(flip::flip_by_copy(images, flips).equal(wanted));
      }
    }
  }
}

TEST(HorizontalFlip, MirrorsWhatItsViewSays) {
  const auto augmentation = make();
  EXPECT_EQ(augmentation->views(), 2);
  for (const at::Device& device : kd::testing::devices()) {
    kd::Batch batch = batch_on(device, 50);
    const at::Tensor images = batch.images.cpu();
    augmentation->apply(batch, kKey);
    const at::Tensor flipped = augmentation->view_numbers(batch.index, kKey).cpu();
    EXPECT_EQ(flipped.scalar_type(), at::kLong);
    EXPECT_TRUE(flipped.ge(0).logical_and(flipped.le(1)).all().item<bool>());
    EXPECT_TRUE(batch.images.cpu().equal(reference(images, flipped)));
    EXPECT_EQ(batch.images.scalar_type(), at::kByte);
  }
}

TEST(HorizontalFlip, TwiceIsNotAtAll) {
  const auto augmentation = make();
  kd::Batch batch = batch_on(at::kCPU, 20);
  const at::Tensor images = batch.images.clone();
  augmentation->apply(batch, kKey);
  EXPECT_FALSE(batch.images.equal(images));
  augmentation->apply(batch, kKey);
  EXPECT_TRUE(batch.images.equal(images));
}

TEST(HorizontalFlip, KeepsToItsProbability) {
  for (const auto& [probability, low, high] :
       {std::tuple{0.0, 0, 0}, {1.0, 10000, 10000}, {0.5, 4800, 5200}, {0.2, 1840, 2160}}) {
    const at::Tensor index = at::arange(10000, at::kLong);  // the bounds are 4 standard deviations
    const auto augmentation = make(", probability = " + std::to_string(probability));
    const auto count = augmentation->view_numbers(index, kKey).sum().item<std::int64_t>();
    EXPECT_GE(count, low);
    EXPECT_LE(count, high);
  }
}

TEST(HorizontalFlip, DoesNotDependOnTheBatch) {
  const auto augmentation = make();
  for (const at::Device& device : kd::testing::devices()) {
    kd::Batch whole = batch_on(device, 32);
    const at::Tensor order = (whole.index * 7 + 3).remainder(32).slice(0, 0, 20);
    kd::Batch part;
    part.images = whole.images.index_select(0, order);
    part.index = whole.index.index_select(0, order);
    augmentation->apply(whole, kKey);
    augmentation->apply(part, kKey);
    EXPECT_TRUE(part.images.equal(whole.images.index_select(0, order)));
  }
}

TEST(HorizontalFlip, MirrorsAllImagesOfASampleAlike) {
  kd::Batch batch = batch_on(at::kCPU, 16);
  batch.plain_images = batch.images.clone();
  batch.extra_views = {{"other", batch.images.clone()}};
  make()->apply(batch, kKey);
  EXPECT_TRUE(batch.plain_images.equal(batch.images));
  EXPECT_TRUE(batch.extra_views[0].images.equal(batch.images));
}

}  // namespace
