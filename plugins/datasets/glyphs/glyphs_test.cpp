// Tests of the data set "glyphs".
#include <ATen/Parallel.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cdist.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <set>

#include "glyph.h"
#include "kd/dataset.h"
#include "kd/plugin.h"

namespace {

std::unique_ptr<kd::DataSet> make_glyphs(const std::string& parameters) {
  kd::load_plugins();
  return kd::make<kd::DataSet>("{ type = 'glyphs', " + parameters + " }");
}

kd::ImageSet draw(const std::string& parameters, kd::Split split = kd::Split::kTrain) {
  return make_glyphs(parameters)->load(split);
}

double equal_pixels(const at::Tensor& a, const at::Tensor& b) { return a.eq(b).to(at::kDouble).mean().item<double>(); }

/// Accuracy on the test split of the rule "the class whose mean training image is nearest".
double nearest_mean_accuracy(const std::string& parameters) {
  const auto data = make_glyphs(parameters);
  const kd::ImageSet train = data->load(kd::Split::kTrain), test = data->load(kd::Split::kTest);
  std::vector<at::Tensor> means;
  for (std::int64_t i = 0; i < data->info().classes(); ++i) {
    means.push_back(train.images.index({train.labels.eq(i)}).to(at::kFloat).flatten(1).mean(0));
  }
  const at::Tensor nearest = at::cdist(test.images.to(at::kFloat).flatten(1), at::stack(means)).argmin(1);
  return nearest.eq(test.labels).to(at::kDouble).mean().item<double>();
}

TEST(Glyphs, ComeInTheFormatOfTheirModel) {
  const auto check = [](const std::string& like, std::int64_t channels, std::int64_t side, std::int64_t classes) {
    const auto data = make_glyphs("like = '" + like + "', train = 30, test = 20");
    const kd::DataInfo info = data->info();
    EXPECT_EQ(info.channels, channels);
    EXPECT_EQ(info.height, side);
    EXPECT_EQ(info.width, side);
    EXPECT_EQ(info.classes(), classes);
    EXPECT_EQ(static_cast<std::int64_t>(info.mean.size()), channels);
    EXPECT_EQ(static_cast<std::int64_t>(info.deviation.size()), channels);
    const kd::ImageSet train = data->load(kd::Split::kTrain), test = data->load(kd::Split::kTest);
    EXPECT_EQ(train.images.sizes(), (at::IntArrayRef{30, channels, side, side}));
    EXPECT_EQ(train.labels.sizes(), (at::IntArrayRef{30}));
    EXPECT_EQ(test.images.sizes(), (at::IntArrayRef{20, channels, side, side}));
    EXPECT_EQ(train.images.scalar_type(), at::kByte);
    EXPECT_EQ(train.labels.scalar_type(), at::kLong);
  };
  check("mnist", 1, 28, 10);
  check("cifar10", 3, 32, 10);
  check("cifar100", 3, 32, 100);
}

TEST(Glyphs, AreTheSameWheneverTheyAreDrawn) {
  const kd::ImageSet once = draw("train = 200"), again = draw("train = 200");
  EXPECT_TRUE(once.labels.equal(again.labels));
  EXPECT_GT(equal_pixels(once.images, again.images), 0.999);
}

TEST(Glyphs, DoNotDependOnTheirCount) {
  const kd::ImageSet few = draw("train = 70"), many = draw("train = 300");
  EXPECT_TRUE(few.labels.equal(many.labels.slice(0, 0, 70)));
  EXPECT_TRUE(few.images.equal(many.images.slice(0, 0, 70)));
}

TEST(Glyphs, DoNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const kd::ImageSet one = draw("train = 500, like = 'cifar10'");
  at::set_num_threads(3);
  const kd::ImageSet three = draw("train = 500, like = 'cifar10'");
  at::set_num_threads(threads);
  EXPECT_TRUE(one.labels.equal(three.labels));
  EXPECT_TRUE(one.images.equal(three.images));
}

TEST(Glyphs, DifferBetweenSplitsAndSeeds) {
  const kd::ImageSet train = draw("train = 200, test = 200"), test = draw("train = 200, test = 200", kd::Split::kTest);
  const kd::ImageSet other = draw("train = 200, seed = 1");
  EXPECT_FALSE(train.labels.equal(test.labels));
  EXPECT_FALSE(train.labels.equal(other.labels));
  EXPECT_LT(equal_pixels(train.images, test.images), 0.5);
  EXPECT_LT(equal_pixels(train.images, other.images), 0.5);
}

TEST(Glyphs, HaveTheSameClassesForEverySeed) {
  const kd::ImageSet a = draw("train = 1000, difficulty = 0"), b = draw("train = 1000, difficulty = 0, seed = 5");
  for (std::int64_t i = 0; i < 10; ++i) {
    const auto mean = [i](const kd::ImageSet& set) {
      return set.images.index({set.labels.eq(i)}).to(at::kFloat).mean(0);
    };
    EXPECT_LT(mean(a).sub(mean(b)).abs().mean().item<double>(), 5);
  }
}

TEST(Glyphs, AreBalanced) {
  // Within five standard deviations of a binomial count.
  const at::Tensor ten = at::bincount(draw("train = 10000").labels, {}, 10);
  EXPECT_EQ(ten.numel(), 10);
  EXPECT_LT(ten.sub(1000).abs().max().item<std::int64_t>(), 150);
  const at::Tensor hundred = at::bincount(draw("train = 10000, like = 'cifar100'").labels, {}, 100);
  EXPECT_EQ(hundred.numel(), 100);
  EXPECT_LT(hundred.sub(100).abs().max().item<std::int64_t>(), 50);
}

TEST(Glyphs, CanBeLearnedButNotByNearestMean) {
  const double accuracy = nearest_mean_accuracy("train = 4000, test = 1000");
  EXPECT_GT(accuracy, 0.5);
  EXPECT_LT(accuracy, 0.9);
}

TEST(Glyphs, GetHarderWithDifficulty) {
  const double easy = nearest_mean_accuracy("train = 1000, test = 500, difficulty = 0");
  const double usual = nearest_mean_accuracy("train = 1000, test = 500");
  const double hard = nearest_mean_accuracy("train = 1000, test = 500, difficulty = 1");
  EXPECT_GT(easy, 0.99);
  EXPECT_GT(easy, usual + 0.1);
  EXPECT_GT(usual, hard + 0.1);
}

TEST(Glyphs, HaveTheMeanAndDeviationTheyReport) {
  for (const std::string like : {"mnist", "cifar10", "cifar100"}) {
    const auto data = make_glyphs("seed = 3, train = 8000, like = '" + like + "'");
    const at::Tensor images = data->load(kd::Split::kTrain).images;
    const kd::DataInfo info = data->info();
    for (std::int64_t i = 0; i < info.channels; ++i) {
      const at::Tensor pixels = images.select(1, i).to(at::kDouble).div(255);
      EXPECT_NEAR(pixels.mean().item<double>(), info.mean[static_cast<std::size_t>(i)], 0.01);
      EXPECT_NEAR(pixels.std(false).item<double>(), info.deviation[static_cast<std::size_t>(i)], 0.01);
    }
  }
}

TEST(Glyph, ShapesDifferAndTheFirstStayTheFirst) {
  const std::vector<glyph::Shape> ten = glyph::class_shapes(10), hundred = glyph::class_shapes(100);
  ASSERT_EQ(hundred.size(), 100U);
  EXPECT_EQ(std::set<glyph::Shape>(hundred.begin(), hundred.end()).size(), 100U);
  EXPECT_TRUE(std::equal(ten.begin(), ten.end(), hundred.begin()));
}

TEST(Glyph, StrokeIsInkWithinItsWidthAndNoneBeyond) {
  glyph::Coverage coverage(10);
  coverage.add_stroke({2, 5}, {7, 5}, 1, 0.5F);
  EXPECT_FLOAT_EQ(coverage[5 * 10 + 4], 0.5F);   // on the segment
  EXPECT_FLOAT_EQ(coverage[6 * 10 + 4], 0.25F);  // at distance 1, half covered
  EXPECT_FLOAT_EQ(coverage[7 * 10 + 4], 0);      // at distance 2
  EXPECT_FLOAT_EQ(coverage[5 * 10 + 8], 0.25F);  // round end, distance 1
  EXPECT_FLOAT_EQ(coverage[5 * 10 + 9], 0);
  coverage.erase_disc({4, 5}, 1);
  EXPECT_FLOAT_EQ(coverage[5 * 10 + 4], 0);
  EXPECT_FLOAT_EQ(coverage[5 * 10 + 5], 0.25F);  // at the rim, half erased
  EXPECT_FLOAT_EQ(coverage[5 * 10 + 6], 0.5F);
}

}  // namespace
