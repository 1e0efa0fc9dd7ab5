// Tests of the augmentation "normalize".
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <vector>

#include "kd/augmentation.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"

namespace {

const std::vector<double> kMean{0.5071, 0.4867, 0.4408};
const std::vector<double> kDeviation{0.2675, 0.2565, 0.2761};

kd::Augmentation::Context context() {
  kd::Augmentation::Context context;
  context.data.channels = 3;
  context.data.mean = kMean;
  context.data.deviation = kDeviation;
  return context;
}

std::unique_ptr<kd::Augmentation> make(const std::string& parameters = "") {
  kd::load_plugins();
  return kd::make<kd::Augmentation>("{ type = 'normalize'" + parameters + " }", context());
}

/// Pixel by pixel, of images in [0, 1].
void expect_normalized(const at::Tensor& actual, const at::Tensor& images, const std::vector<double>& mean,
                       const std::vector<double>& deviation) {
  ASSERT_EQ(actual.scalar_type(), at::kFloat);
  const at::Tensor result = actual.cpu().contiguous();
  const at::Tensor source = images.cpu().to(at::kDouble).contiguous();
  const std::int64_t pixels = source.size(2) * source.size(3);
  for (std::int64_t i = 0; i < source.numel(); ++i) {
    const auto channel = static_cast<std::size_t>(i / pixels % source.size(1));
    const double expected = (source.const_data_ptr<double>()[i] - mean[channel]) / deviation[channel];
    ASSERT_NEAR(result.const_data_ptr<float>()[i], expected, 1e-6);
  }
}

TEST(Normalize, TakesTheDataSetsStatistics) {
  const auto augmentation = make();
  for (const at::Device& device : kd::testing::devices()) {
    for (int repeat = 0; repeat < 2; ++repeat) {
      kd::Batch batch = kd::testing::byte_batch(4, 3, 5, 6, 10);
      const at::Tensor images = batch.images.to(at::kDouble) / 255;
      batch.images = batch.images.to(device);
      augmentation->apply(batch, {});
      expect_normalized(batch.images, images, kMean, kDeviation);
    }
  }
}

TEST(Normalize, TakesGivenStatisticsAndFloatImages) {
  kd::Batch batch = kd::testing::byte_batch(4, 3, 5, 6, 10);
  batch.images = kd::to_float(batch.images);
  const at::Tensor images = batch.images.clone();
  batch.plain_images = images.clone();
  batch.extra_views = {{"other", images.contiguous(at::MemoryFormat::ChannelsLast)}};
  make(", mean = [0.1, 0.2, 0.3], deviation = [0.5, 1, 2]")->apply(batch, {});
  for (const at::Tensor& result : {batch.images, batch.plain_images, batch.extra_views[0].images}) {
    expect_normalized(result, images, {0.1, 0.2, 0.3}, {0.5, 1, 2});
  }
}

TEST(Normalize, IsAppliedInEvaluationAndMakesOneView) {
  const auto augmentation = make();
  EXPECT_TRUE(augmentation->at_evaluation());
  EXPECT_EQ(augmentation->views(), 1);
}

TEST(Normalize, RefusesListsThatDoNotFitTheImages) {
  EXPECT_THROW(make(", mean = [0.5]"), kd::Error);
  EXPECT_THROW(make(", deviation = [0.5, 0.5, 0.5, 0.5]"), kd::Error);
  EXPECT_THROW(make(", deviation = [0.5, 0.0, 0.5]"), kd::Error);
  kd::Augmentation::Context grey = context();
  grey.data.channels = 1;
  EXPECT_THROW(kd::make<kd::Augmentation>("{ type = 'normalize' }", grey), kd::Error);
}

}  // namespace
