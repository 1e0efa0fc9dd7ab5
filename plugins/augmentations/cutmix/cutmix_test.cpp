// Tests of the augmentation "cutmix".
#include <ATen/ops/arange.h>

#include <algorithm>
#include <cmath>

#include "kd/testing/augmentations.h"

namespace {

/// Image n is n everywhere, so that each pixel names the sample it comes from.
kd::Batch labelled_batch(const at::Device& device, std::int64_t n, std::int64_t height, std::int64_t width) {
  kd::Batch batch = kd::testing::batch_on(device, n, 1, height, width);
  batch.images = batch.index.view({-1, 1, 1, 1}).expand(batch.images.sizes()).to(at::kFloat).contiguous();
  return batch;
}

/// With companions n + 1000 for sample n.
kd::Batch with_companions(kd::Batch batch) {
  batch.extra_sample_images = batch.images + 1000;
  batch.extra_sample_labels = batch.targets.labels + 1000;
  return batch;
}

/// Checks one sample pixel by pixel: a rectangle of its partner's pixels, whose area the weight states.
void expect_box(const kd::Batch& after, std::int64_t n) {
  const at::Tensor image = after.images[n][0].cpu().contiguous();
  const std::int64_t height = image.size(0), width = image.size(1);
  const double partner = kd::testing::number(after.targets.partner, n);
  std::int64_t pasted = 0, top = height, bottom = -1, left = width, right = -1;
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const auto value = static_cast<double>(image.const_data_ptr<float>()[y * width + x]);
      if (value == kd::testing::number(after.index, n)) continue;
      EXPECT_EQ(value, partner);
      ++pasted;
      top = std::min(top, y), bottom = std::max(bottom, y), left = std::min(left, x), right = std::max(right, x);
    }
  }
  if (partner == kd::testing::number(after.index, n)) return;
  EXPECT_EQ(pasted, pasted == 0 ? 0 : (bottom - top + 1) * (right - left + 1));
  EXPECT_NEAR(kd::testing::number(after.targets.weight, n),
              1 - static_cast<double>(pasted) / static_cast<double>(height * width), 1e-6);
}

TEST(CutMix, PastesOneBoxOfAPartnerInTheBatch) {
  const auto cutmix = kd::testing::make("cutmix", ", probability = 1");
  for (const at::Device& device : kd::testing::devices()) {
    for (std::uint64_t repeat = 0; repeat < 8; ++repeat) {
      const kd::Batch before = labelled_batch(device, 12, 7, 9);
      kd::Batch after = before;
      cutmix->apply(after, kd::testing::kKey.with(repeat));
      EXPECT_TRUE(after.plain_images.equal(before.images));
      EXPECT_TRUE(after.targets.weight.eq(after.targets.weight[0]).all().item<bool>());
      for (std::int64_t n = 0; n < 12; ++n) expect_box(after, n);
    }
  }
}

TEST(CutMix, PastesABoxForEachSampleFromTheSet) {
  const auto cutmix = kd::testing::make("cutmix", ", probability = 0.7, within = 'set'");
  for (const at::Device& device : kd::testing::devices()) {
    kd::Batch batch = with_companions(labelled_batch(device, 40, 7, 9));
    kd::testing::expect_same_by_rows(*cutmix, batch, 0.4);
    cutmix->apply(batch, kd::testing::kKey);
    for (std::int64_t n = 0; n < 40; ++n) expect_box(batch, n);
    EXPECT_GT(batch.targets.weight.std().item<double>(), 0.1);
    const at::Tensor whole = batch.targets.weight.eq(1);
    EXPECT_TRUE(batch.targets.partner.eq(batch.targets.labels).equal(whole));
  }
}

/// Mean length of an interval of `side` about each of `size` pixels in turn, clipped, as a share of `size`.
double mean_share(std::int64_t side, std::int64_t size) {
  double sum = 0;
  for (std::int64_t middle = 0; middle < size; ++middle) {
    const std::int64_t first = middle - side / 2;
    sum += static_cast<double>(std::min(first + side, size) - std::max<std::int64_t>(first, 0));
  }
  return sum / static_cast<double>(size * size);
}

/// Expected share that stays of 6×12 images, by enumeration: uniform λ gives d = ⌊12 · √(1 − λ)⌋ columns and ⌊d / 2⌋
/// rows with probability ((d + 1)² − d²) / 12².
double expected_weight(bool loses_odd_pixel) {
  const auto side = [&](std::int64_t drawn) { return loses_odd_pixel ? 2 * (drawn / 2) : drawn; };
  double pasted = 0;
  for (std::int64_t drawn = 0; drawn < 12; ++drawn) {
    const double probability = (2 * static_cast<double>(drawn) + 1) / 144;
    pasted += probability * mean_share(side(drawn / 2), 6) * mean_share(side(drawn), 12);
  }
  return 1 - pasted;
}

TEST(CutMix, DrawsBoxesAsPublished) {
  const kd::Batch before = with_companions(labelled_batch(at::kCPU, 6000, 6, 12));
  for (const auto* box : {"paper", "released"}) {
    kd::Batch after = before;
    kd::testing::make("cutmix", ", probability = 1, within = 'set', box = '" + std::string(box) + "'")
        ->apply(after, kd::testing::kKey);
    EXPECT_NEAR(after.targets.weight.mean().item<double>(), expected_weight(box == std::string("released")), 0.012);
  }
  EXPECT_GT(expected_weight(true) - expected_weight(false), 0.04);
}

TEST(CutMix, MixesWithItsProbability) {
  const auto cutmix = kd::testing::make("cutmix", ", probability = 0.3");
  int mixed = 0;
  for (std::uint64_t i = 0; i < 400; ++i) {
    kd::Batch batch = labelled_batch(at::kCPU, 2, 64, 64);
    cutmix->apply(batch, kd::testing::kKey.with(i));
    if (batch.targets.weight[0].item<double>() < 1) ++mixed;
  }
  EXPECT_NEAR(mixed / 400.0, 0.3, 0.08);
  kd::Batch never = kd::testing::batch_on(at::kCPU, 6, 3, 4, 4);
  const at::Tensor images = never.images.clone();
  kd::testing::make("cutmix", ", probability = 0")->apply(never, kd::testing::kKey);
  EXPECT_TRUE(never.images.equal(images));
  EXPECT_TRUE(never.targets.weight.eq(1).all().item<bool>());
  EXPECT_TRUE(never.targets.partner.equal(never.targets.labels));
}

TEST(CutMix, PastesIntoExtraViewsAlike) {
  for (const auto* within : {"batch", "set"}) {
    kd::Batch batch = kd::testing::batch_on(at::kCPU, 20, 3, 6, 6);
    batch.extra_sample_images = batch.images.flip(0);
    batch.extra_sample_labels = batch.targets.labels.flip(0);
    batch.extra_views = {{"bytes", batch.images.clone()}, {"floats", kd::to_float(batch.images)}};
    kd::testing::make("cutmix", ", probability = 1, within = '" + std::string(within) + "'")
        ->apply(batch, kd::testing::kKey);
    EXPECT_TRUE(batch.extra_views[0].images.equal(batch.images));
    EXPECT_TRUE(batch.extra_views[1].images.equal(kd::to_float(batch.images)));
  }
}

TEST(CutMix, DependsOnTheMembersOfTheBatchAlone) {
  for (const at::Device& device : kd::testing::devices()) {
    kd::testing::expect_same_by_rows(*kd::testing::make("cutmix", ", probability = 1"),
                                     labelled_batch(device, 30, 5, 5), 1);
  }
}

TEST(CutMix, DrawsPartnersFromTheWholeSet) {
  const auto cutmix = kd::testing::make("cutmix", ", within = 'set'");
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor labels = at::arange(50, at::TensorOptions(device).dtype(at::kLong));
    const at::Tensor index = at::arange(10000, labels.options());
    const at::Tensor partners = cutmix->extra_samples(index, labels, kd::testing::kKey);
    EXPECT_TRUE(
        partners.narrow(0, 100, 50).equal(cutmix->extra_samples(index.narrow(0, 100, 50), labels, kd::testing::kKey)));
    const at::Tensor counts = partners.cpu().bincount({}, 50).to(at::kDouble);
    EXPECT_EQ(counts.size(0), 50);
    EXPECT_LT((counts - 200).square().sum().item<double>() / 200, 85.4);  // χ², 49 degrees of freedom, 99.9 %
  }
  EXPECT_FALSE(kd::testing::make("cutmix")->extra_samples(at::arange(3), at::arange(3), kd::testing::kKey).defined());
}

TEST(CutMix, SaysThatItMixesAndRefusesMixedImages) {
  const auto cutmix = kd::testing::make("cutmix");
  EXPECT_TRUE(cutmix->mixes());
  kd::Batch batch = kd::testing::batch_on(at::kCPU, 4, 1, 2, 2);
  cutmix->apply(batch, kd::testing::kKey);
  EXPECT_THROW(cutmix->apply(batch, kd::testing::kKey), kd::Error);
}

}  // namespace
