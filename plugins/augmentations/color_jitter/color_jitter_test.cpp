// Tests of the augmentation "color_jitter".
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "jitter.h"
#include "kd/testing/augmentations.h"

namespace {

using Color = std::array<double, 3>;

double grey(const Color& c) { return 0.2989 * c[0] + 0.587 * c[1] + 0.114 * c[2]; }
double range(const Color& c) { return *std::max_element(c.begin(), c.end()) - *std::min_element(c.begin(), c.end()); }

/// Hue in turns, by the angle of the colour about the grey axis sorted into its six sectors (Foley et al., 1990).
double hue(const Color& c) {
  const double r = c[0], g = c[1], b = c[2], d = range(c);
  if (d == 0) return 0;
  if (r >= g && g >= b) return (g - b) / d / 6;
  if (g >= r && r >= b) return (2 - (r - b) / d) / 6;
  if (g >= b && b >= r) return (2 + (b - r) / d) / 6;
  if (b >= g && g >= r) return (4 - (g - r) / d) / 6;
  if (b >= r && r >= g) return (4 + (r - g) / d) / 6;
  return (6 - (b - g) / d) / 6;
}

/// The colour of a hue between `least` and `greatest`, sector by sector as colorsys.hsv_to_rgb.
Color color_of(double turns, double least, double greatest) {
  const double sixths = (turns - std::floor(turns)) * 6;
  const auto sector = static_cast<int>(sixths) % 6;
  const double part = sixths - std::floor(sixths), d = greatest - least;
  const double rising = least + d * part, falling = greatest - d * part;
  const Color colors[] = {{greatest, rising, least},  {falling, greatest, least}, {least, greatest, rising},
                          {least, falling, greatest}, {rising, least, greatest},  {greatest, least, falling}};
  return colors[sector];
}

Color turned(const Color& c, double turns) {
  return color_of(hue(c) + turns, *std::min_element(c.begin(), c.end()), *std::max_element(c.begin(), c.end()));
}
Color saturated(const Color& c, double factor) {
  Color result;
  for (std::size_t i = 0; i < 3; ++i) result[i] = std::clamp(factor * c[i] + (1 - factor) * grey(c), 0.0, 1.0);
  return result;
}
double distance(const Color& a, const Color& b) {
  return std::max({std::abs(a[0] - b[0]), std::abs(a[1] - b[1]), std::abs(a[2] - b[2])});
}

Color color_at(const at::Tensor& images, std::int64_t n) {
  return {kd::testing::number(images[n], 0), kd::testing::number(images[n], 1), kd::testing::number(images[n], 2)};
}

kd::Batch changed(const std::string& parameters, kd::Batch batch) {
  kd::testing::make("color_jitter", parameters)->apply(batch, kd::testing::kKey);
  return batch;
}

TEST(ColorJitter, IsKeyedBySample) {
  for (const at::Device& device : kd::testing::devices()) {
    kd::testing::expect_keyed_by_sample(
        *kd::testing::make("color_jitter", ", brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1"),
        kd::testing::batch_on(device, 30, 3, 5, 4));
  }
}

TEST(ColorJitter, LeavesImagesWithoutChanges) {
  const kd::Batch batch = kd::testing::batch_on(at::kCPU, 10, 3, 4, 4);
  EXPECT_TRUE(changed("", batch).images.equal(kd::to_float(batch.images)));
}

TEST(ColorJitter, TurnsHues) {
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor images = kd::to_float(kd::testing::batch_on(device, 60, 3, 1, 1).images);
    for (const double turns : {0.0, 0.1, 1.0 / 3, 0.5, -0.2}) {
      const at::Tensor result = jitter::turn_hue(images, at::full({60, 1, 1, 1}, turns, images.options()));
      for (std::int64_t n = 0; n < 60; ++n) {
        EXPECT_LT(distance(color_at(result, n), turned(color_at(images, n), turns)), 1e-5) << n << " " << turns;
      }
    }
  }
  const at::Tensor flat = at::full({1, 3, 1, 1}, 0.3);
  EXPECT_TRUE(jitter::turn_hue(flat, at::full({1, 1, 1, 1}, 0.4)).allclose(flat));
}

/// Images far from black and white, which no change here clips.
kd::Batch middling_batch(std::int64_t n, std::int64_t height, std::int64_t width) {
  kd::Batch batch = kd::testing::batch_on(at::kCPU, n, 3, height, width);
  batch.images = batch.images.to(at::kInt).floor_divide(4).add(90).to(at::kByte);
  return batch;
}

/// Checks result = f · image + (1 − f) · base with one f per image, and that f is uniform in [1 − spread, 1 + spread].
void expect_factor(const at::Tensor& result, const at::Tensor& images, const at::Tensor& base, double spread) {
  const at::Tensor change = (images - base).flatten(1), moved = (result.to(at::kDouble) - base).flatten(1);
  const at::Tensor factor = (moved * change).sum(1) / change.square().sum(1);
  EXPECT_TRUE(moved.allclose(change * factor.unsqueeze(1), 0, 2e-6));
  EXPECT_LE((factor - 1).abs().max().item<double>(), spread + 1e-5);
  EXPECT_NEAR(factor.mean().item<double>(), 1, 0.1 * spread);
  EXPECT_NEAR(factor.var().item<double>(), spread * spread / 3, 0.1 * spread * spread);
}

TEST(ColorJitter, ScalesBrightnessContrastAndSaturation) {
  const kd::Batch batch = middling_batch(500, 3, 4);
  const at::Tensor images = batch.images.to(at::kDouble) / 255;
  const at::Tensor weights = at::tensor({0.2989, 0.587, 0.114}, at::kDouble).view({1, 3, 1, 1});
  const at::Tensor grey_images = (images * weights).sum(1, /*keepdim=*/true);
  expect_factor(changed(", brightness = 0.4", batch).images, images, images * 0, 0.4);
  expect_factor(changed(", contrast = 0.4", batch).images, images, grey_images.mean({1, 2, 3}, true).expand_as(images),
                0.4);
  expect_factor(changed(", saturation = 0.4", batch).images, images, grey_images.expand_as(images), 0.4);
}

TEST(ColorJitter, ChangesInARandomOrder) {
  const kd::Batch batch = middling_batch(400, 1, 1);
  const at::Tensor before = kd::to_float(batch.images);
  const at::Tensor after = changed(", saturation = 0.5, hue = 0.5", batch).images;
  int hue_first = 0, saturation_first = 0;
  for (std::int64_t n = 0; n < 400; ++n) {
    const Color from = color_at(before, n), to = color_at(after, n);
    if (range(from) < 0.05) continue;
    const double factor = range(to) / range(from), turns = hue(to) - hue(from);
    const bool one = distance(saturated(turned(from, turns), factor), to) < 1e-4;
    const bool other = distance(turned(saturated(from, factor), turns), to) < 1e-4;
    EXPECT_TRUE(one || other);
    hue_first += one && !other, saturation_first += other && !one;
  }
  EXPECT_GT(hue_first, 100);
  EXPECT_GT(saturation_first, 100);
}

TEST(ColorJitter, StaysWithinTheRangeAndWantsColours) {
  const kd::Batch batch = kd::testing::batch_on(at::kCPU, 20, 3, 4, 4);
  const at::Tensor images = changed(", brightness = 2, contrast = 2, saturation = 2, hue = 0.5", batch).images;
  EXPECT_GE(images.min().item<double>(), 0);
  EXPECT_LE(images.max().item<double>(), 1);
  EXPECT_THROW(changed("", kd::testing::batch_on(at::kCPU, 2, 1, 4, 4)), kd::Error);
}

}  // namespace
