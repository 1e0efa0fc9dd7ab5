// Tests of the augmentation "random_resized_crop".
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>

#include "kd/augmentation.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"

namespace {

std::unique_ptr<kd::Augmentation> make(const std::string& parameters) {
  kd::load_plugins();
  return kd::make<kd::Augmentation>("{ type = 'random_resized_crop', " + parameters + " }");
}

/// Images whose pixels tell where they stand: column, row and 255.
at::Tensor places(std::int64_t height, std::int64_t width) {
  const auto bytes = at::TensorOptions().dtype(at::kByte);
  const at::Tensor columns = at::arange(width, bytes).view({1, width}).expand({height, width});
  const at::Tensor rows = at::arange(height, bytes).view({height, 1}).expand({height, width});
  return at::stack({columns, rows, at::zeros({height, width}, bytes) + 255});
}

/// The part that a crop to its own nearest pixels shows: least and greatest column and row.
struct Seen {
  std::int64_t left, right, top, bottom;
  double width() const { return static_cast<double>(right - left + 1); }
  double height() const { return static_cast<double>(bottom - top + 1); }
};

Seen seen_in(const at::Tensor& sized) {
  const auto extreme = [&](std::int64_t channel, bool greatest) {
    return (greatest ? sized[channel].max() : sized[channel].min()).item<std::int64_t>();
  };
  return {extreme(0, false), extreme(0, true), extreme(1, false), extreme(1, true)};
}

TEST(RandomResizedCrop, ShowsPartsOfTheSharesAndRatiosThatAreAskedFor) {
  const auto augmentation = make("size = 200, scale = [0.2, 0.5], ratio = [0.5, 2.0], interpolation = 'nearest'");
  const auto& crop = dynamic_cast<const kd::Sizing&>(*augmentation);
  const at::Tensor image = places(120, 160);
  std::set<std::int64_t> lefts, tops;
  double shares = 0;
  constexpr int kCrops = 400;
  for (std::uint64_t i = 0; i < kCrops; ++i) {
    const at::Tensor sized = crop.size_in_training(image, kd::RandomKey{1}.with(i));
    ASSERT_EQ(sized.sizes(), (at::IntArrayRef{3, 200, 200}));
    // 200 nearest pixels show every pixel of a smaller part.
    const Seen seen = seen_in(sized);
    const double share = seen.width() * seen.height() / (120 * 160);
    EXPECT_GE(share, 0.19);
    EXPECT_LE(share, 0.51);
    EXPECT_GE(seen.width() / seen.height(), 0.48);
    EXPECT_LE(seen.width() / seen.height(), 2.1);
    shares += share;
    lefts.insert(seen.left);
    tops.insert(seen.top);
  }
  EXPECT_NEAR(shares / kCrops, 0.345, 0.02);  // a little below the middle: great parts of extreme ratios do not fit
  EXPECT_GT(lefts.size(), 50U);
  EXPECT_GT(tops.size(), 40U);
  EXPECT_EQ(*lefts.begin(), 0);
  EXPECT_EQ(*tops.begin(), 0);
}

TEST(RandomResizedCrop, FollowsFromTheKeyAlone) {
  const auto augmentation = make("size = 32");
  const auto& crop = dynamic_cast<const kd::Sizing&>(*augmentation);
  const at::Tensor image = places(50, 60);
  EXPECT_TRUE(crop.size_in_training(image, kd::RandomKey{5}).equal(crop.size_in_training(image, kd::RandomKey{5})));
  EXPECT_FALSE(crop.size_in_training(image, kd::RandomKey{5}).equal(crop.size_in_training(image, kd::RandomKey{6})));
  EXPECT_TRUE(crop.is_random());
  EXPECT_EQ(augmentation->views(), 0);
}

TEST(RandomResizedCrop, TakesTheMiddleWhereNoPartFits) {
  // No part with a ratio of 1 is the whole of an image of 2 by 1: the fallback is its middle square.
  const auto augmentation = make("size = 30, scale = [1.0, 1.0], ratio = [1.0, 1.0], interpolation = 'nearest'");
  const auto& crop = dynamic_cast<const kd::Sizing&>(*augmentation);
  const Seen wide = seen_in(crop.size_in_training(places(30, 60), kd::RandomKey{1}));
  EXPECT_EQ(wide.left, 15);
  EXPECT_EQ(wide.right, 44);
  EXPECT_EQ(wide.top, 0);
  EXPECT_EQ(wide.bottom, 29);
  const Seen high = seen_in(crop.size_in_training(places(60, 30), kd::RandomKey{1}));
  EXPECT_EQ(high.top, 15);
  EXPECT_EQ(high.bottom, 44);
  EXPECT_EQ(crop.size_in_training(places(1, 60), kd::RandomKey{1}).size(1), 30);
}

TEST(RandomResizedCrop, EvaluatesOnTheMiddle) {
  const auto augmentation = make("size = 28, evaluation_size = 28, interpolation = 'nearest'");
  const auto& crop = dynamic_cast<const kd::Sizing&>(*augmentation);
  const Seen seen = seen_in(crop.size_in_evaluation(places(28, 48)));
  EXPECT_EQ(seen.left, 10);
  EXPECT_EQ(seen.right, 37);
  const auto standard = make("size = 224");
  // 8/7 of 224 is the 256 of the published settings.
  EXPECT_TRUE(dynamic_cast<const kd::Sizing&>(*standard)
                  .size_in_evaluation(places(100, 130))
                  .equal(dynamic_cast<const kd::Sizing&>(*make("size = 224, evaluation_size = 256"))
                             .size_in_evaluation(places(100, 130))));
}

TEST(RandomResizedCrop, ABatchGetsTheViewsOfItsSamples) {
  const auto augmentation = make("size = 16");
  const auto& crop = dynamic_cast<const kd::Sizing&>(*augmentation);
  const at::Tensor image = places(40, 40);
  kd::Batch batch;
  batch.images = at::stack({image, image});
  batch.index = at::arange(3, 5, at::kLong);
  const kd::RandomKey key{9};
  augmentation->apply(batch, key);
  EXPECT_TRUE(batch.images[0].equal(crop.size_in_training(image, key.with(3))));
  EXPECT_TRUE(batch.images[1].equal(crop.size_in_training(image, key.with(4))));
}

TEST(RandomResizedCrop, RefusesRangesThatAreNone) {
  EXPECT_THROW(make("scale = [0.5, 0.1]"), kd::RecipeError);
  EXPECT_THROW(make("ratio = [1.0]"), kd::RecipeError);
  EXPECT_THROW(make("size = 64, evaluation_size = 32"), kd::RecipeError);
}

}  // namespace
