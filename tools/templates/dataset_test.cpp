// Tests of the data set "KD_NAME_HERE".
#include "kd/dataset.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "kd/plugin.h"

namespace {

std::unique_ptr<kd::DataSet> make() {
  kd::load_plugins();
  return kd::make<kd::DataSet>("{ type = 'KD_NAME_HERE', samples = 20 }", {});
}

TEST(KdClassHere, HasTheShapeAndStatisticsThatItSays) {
  const auto data = make();
  const kd::DataInfo info = data->info();
  const kd::ImageSet set = data->load(kd::Split::kTrain);
  EXPECT_EQ(set.images.sizes().vec(), (std::vector<std::int64_t>{20, info.channels, info.height, info.width}));
  const at::Tensor pixels = set.images.to(at::kDouble) / 255;
  EXPECT_NEAR(pixels.mean().item<double>(), info.mean.at(0), 1e-3);
  EXPECT_NEAR(pixels.std(/*unbiased=*/false).item<double>(), info.deviation.at(0), 1e-3);
}

TEST(KdClassHere, LabelsSayWhichWayTheStripesRun) {
  const kd::ImageSet set = make()->load(kd::Split::kTest);
  for (std::int64_t i = 0; i < set.labels.size(0); ++i) {
    const at::Tensor image = set.images[i][0];
    const at::Tensor along = set.labels[i].item<std::int64_t>() == 0 ? image : image.t();
    EXPECT_TRUE(along.equal(along.select(1, 0).unsqueeze(1).expand_as(along))) << "image " << i;
  }
}

TEST(KdClassHere, SplitsDifferAndRepeat) {
  const auto data = make();
  const at::Tensor train = data->load(kd::Split::kTrain).images;
  EXPECT_TRUE(train.equal(data->load(kd::Split::kTrain).images));
  EXPECT_FALSE(train.equal(data->load(kd::Split::kTest).images));
}

}  // namespace
