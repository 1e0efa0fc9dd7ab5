// Tests of the augmentation "augmix"; the operations are tested in shared/image_operations_test.cpp.
#include <ATen/ops/full.h>

#include <set>

#include "kd/testing/augmentations.h"

namespace {

/// What replaces `batch`.
kd::Batch mixture(const std::string& parameters, kd::Batch batch) {
  kd::testing::make("augmix", ", consistency = false" + parameters)->apply(batch, kd::testing::kKey);
  return batch;
}

TEST(AugMix, IsKeyedBySample) {
  for (const at::Device& device : kd::testing::devices()) {
    const kd::Batch batch = kd::testing::batch_on(device, 20, 3, 12, 10);
    kd::testing::expect_keyed_by_sample(*kd::testing::make("augmix", ", consistency = false"), batch);
    kd::testing::expect_same_by_rows(*kd::testing::make("augmix"), batch, 0.4);
  }
}

TEST(AugMix, AddsTwoViewsAndKeepsTheImages) {
  const auto augmix = kd::testing::make("augmix");
  kd::Batch batch = kd::testing::batch_on(at::kCPU, 10, 3, 12, 12);
  const at::Tensor before = batch.images.clone();
  augmix->apply(batch, kd::testing::kKey);
  EXPECT_TRUE(batch.images.equal(before));
  ASSERT_EQ(batch.extra_views.size(), 2U);
  EXPECT_EQ(augmix->view_names(), (std::vector<std::string>{"augmix_1", "augmix_2"}));
  EXPECT_EQ(batch.extra_views[1].name, "augmix_2");
  EXPECT_FALSE(batch.extra_views[0].images.equal(batch.extra_views[1].images));
  for (const kd::View& view : batch.extra_views) {
    EXPECT_EQ(view.images.scalar_type(), at::kFloat);
    EXPECT_GE(view.images.min().item<double>(), 0);
    EXPECT_LE(view.images.max().item<double>(), 1 + 1e-6);
  }
  EXPECT_EQ(augmix->views(), 1);
  EXPECT_TRUE(kd::testing::make("augmix", ", consistency = false")->view_names().empty());
  EXPECT_EQ(kd::testing::make("augmix", ", consistency = false")->views(), 0);
}

TEST(AugMix, DrawsTheViewsIndependently) {
  // One chain inverts black images: a view is the weight m of its chain, uniform.
  kd::Batch black = kd::testing::even_batch(8000, 1, 1, 1, 0);
  kd::testing::make("augmix", ", width = 1, depth = 1, operations = ['invert']")->apply(black, kd::testing::kKey);
  const at::Tensor first = black.extra_views[0].images.to(at::kDouble) - 0.5;
  const at::Tensor second = black.extra_views[1].images.to(at::kDouble) - 0.5;
  EXPECT_NEAR(first.square().mean().item<double>(), 1.0 / 12, 0.005);
  EXPECT_NEAR(second.square().mean().item<double>(), 1.0 / 12, 0.005);
  EXPECT_NEAR((first * second).mean().item<double>(), 0, 0.005);
}

TEST(AugMix, IsTheSameOnEveryDevice) {
  const std::string all =
      ", operations = ['autocontrast', 'equalize', 'posterize', 'rotate', 'solarize', 'shear_x', 'shear_y', "
      "'translate_x', 'translate_y', 'color', 'contrast', 'brightness', 'sharpness', 'invert', 'identity']";
  for (const auto& parameters : {std::string(), ", width = 2, depth = 2, interpolation = 'nearest'" + all}) {
    const auto augmix = kd::testing::make("augmix", parameters, 12, 10);
    kd::Batch here = kd::testing::batch_on(at::kCPU, 60, 3, 12, 10);
    augmix->apply(here, kd::testing::kKey);
    for (const at::Device& device : kd::testing::devices()) {
      kd::Batch there = kd::testing::batch_on(device, 60, 3, 12, 10);
      augmix->apply(there, kd::testing::kKey);
      for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_TRUE(there.extra_views[i].images.cpu().allclose(here.extra_views[i].images, 0, 1e-5));
      }
    }
  }
}

TEST(AugMix, MixesTheImageWithItsChains) {
  for (const at::Device& device : kd::testing::devices()) {
    const kd::Batch before = kd::testing::batch_on(device, 40, 3, 6, 6);
    const at::Tensor x = before.images.cpu().to(at::kDouble) / 255;
    // Every chain inverts once: (1 − m) · x + m · (1 − x), with one m per image.
    const at::Tensor once = mixture(", depth = 1, operations = ['invert']", before).images.cpu().to(at::kDouble);
    const at::Tensor m = ((once - x) * (1 - 2 * x)).flatten(1).sum(1) / (1 - 2 * x).square().flatten(1).sum(1);
    EXPECT_TRUE(once.allclose(x + (1 - 2 * x) * m.view({-1, 1, 1, 1}), 0, 1e-6));
    EXPECT_GT(m.min().item<double>(), 0);
    EXPECT_LT(m.max().item<double>(), 1);
    const at::Tensor twice = mixture(", depth = 2, operations = ['invert']", before).images.cpu().to(at::kDouble);
    EXPECT_TRUE(twice.allclose(x, 0, 1e-6));
  }
}

TEST(AugMix, DrawsWeightsAndDepthsAsPublished) {
  // On black images each of three chains is white where its depth of 1, 2 or 3 is odd: the result is m · Σ w_i · o_i
  // with E o = ⅔, w of Dirichlet(1, 1, 1) and uniform m.
  const kd::Batch black = kd::testing::even_batch(8000, 1, 1, 1, 0);
  const at::Tensor white = mixture(", operations = ['invert']", black).images.to(at::kDouble);
  EXPECT_NEAR(white.mean().item<double>(), 1.0 / 3, 0.01);
  EXPECT_NEAR(white.square().mean().item<double>(), 5.0 / 27, 0.005);  // ⅓ · (⅔² + ⅔ · ⅓ · E Σ w²), E Σ w² = ½
  // Large concentrations give the plain means: m = ½, w = ⅓.
  const at::Tensor even = mixture(", operations = ['invert'], concentration = 1e5", black).images.to(at::kDouble);
  const at::Tensor sixths = even * 6;
  EXPECT_TRUE(sixths.allclose(sixths.round(), 0, 0.05));
  EXPECT_NEAR(even.mean().item<double>(), 1.0 / 3, 0.01);
}

TEST(AugMix, DrawsLevelsUpToTheSeverity) {
  // One chain of one operation with m = ½: twice the result less the image is what the operation made of it.
  const std::string alone = ", width = 1, depth = 1, concentration = 1e7, operations = ";
  const auto outcomes = [&](const std::string& operation, double severity, std::int64_t value) {
    const kd::Batch batch = kd::testing::even_batch(2000, 1, 1, 1, value);
    const kd::Batch after = mixture(alone + "['" + operation + "'], severity = " + std::to_string(severity), batch);
    const at::Tensor made = (after.images.view({-1}) * 510 - static_cast<double>(value)).round().to(at::kLong);
    std::set<std::int64_t> values;
    for (std::int64_t i = 0; i < 2000; ++i) values.insert(made.const_data_ptr<std::int64_t>()[i]);
    return values;
  };
  EXPECT_EQ(outcomes("posterize", 3, 255), (std::set<std::int64_t>{0xf0, 0xe0}));  // 4 − int(4ℓ / 10) bits
  EXPECT_EQ(outcomes("posterize", 9.9, 255), (std::set<std::int64_t>{0xf0, 0xe0, 0xc0, 0x80}));
  EXPECT_EQ(outcomes("solarize", 3, 178), (std::set<std::int64_t>{178}));  // thresholds from 256 − 76
  EXPECT_EQ(outcomes("solarize", 3, 185), (std::set<std::int64_t>{185, 70}));
  EXPECT_EQ(outcomes("solarize", 0.1, 254), (std::set<std::int64_t>{1}));  // threshold 256 − int(2.56)
  EXPECT_EQ(outcomes("solarize", 0.1, 253), (std::set<std::int64_t>{253}));
  const std::set<std::int64_t> brightness = outcomes("brightness", 10, 100);  // factors 0.118 to 1.9
  EXPECT_NEAR(static_cast<double>(*brightness.begin()), 12, 1);
  EXPECT_NEAR(static_cast<double>(*brightness.rbegin()), 189, 1);
}

TEST(AugMix, MovesByUpToAThirdOfTheImage) {
  kd::Batch batch = kd::testing::even_batch(2000, 1, 1, 30, 0);
  batch.images.select(3, 15).fill_(255);
  kd::Batch after = batch;
  kd::testing::make("augmix",
                    ", consistency = false, width = 1, depth = 1, severity = 10, operations = ['translate_x']", 30, 30)
      ->apply(after, kd::testing::kKey);
  const at::Tensor moved = after.images.view({2000, 30}).index_fill(1, at::full({1}, 15, at::kLong), 0);
  const at::Tensor reached = moved.amax(0).gt(0);
  // int(30 / 3 · ℓ / 10) pixels with ℓ below 10: 0 to 9, either way.
  for (std::int64_t x = 0; x < 30; ++x) EXPECT_EQ(reached[x].item<bool>(), x != 15 && x >= 6 && x <= 24) << x;
}

TEST(AugMix, RefusesWhatItCannotDo) {
  EXPECT_THROW(kd::testing::make("augmix", ", depth = 0"), kd::Error);
  EXPECT_THROW(kd::testing::make("augmix", ", operations = ['blur']"), kd::Error);
  kd::Batch batch = kd::testing::batch_on(at::kCPU, 4, 3, 8, 8);
  batch.images = batch.images.to(at::kFloat);
  EXPECT_THROW(kd::testing::make("augmix")->apply(batch, kd::testing::kKey), kd::Error);
}

}  // namespace
