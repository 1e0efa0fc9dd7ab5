// Tests of the data set "fashion_mnist"; its reader is tested with "mnist".
#include <ATen/ops/bincount.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "kd/dataset.h"
#include "kd/plugin.h"

namespace {

TEST(FashionMnist, NamesTheMissingFileAndTheRemedy) {
  kd::load_plugins();
  const auto data = kd::make<kd::DataSet>("{ type = 'fashion_mnist' }", {.root = "no-such-root"});
  try {
    data->load(kd::Split::kTrain);
    FAIL() << "loaded a file that does not exist";
  } catch (const kd::FileError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("no-such-root/fashion-mnist/train-images-idx3-ubyte"), std::string::npos) << message;
    EXPECT_NE(message.find("kdrun data fetch fashion_mnist, or give --data-root"), std::string::npos) << message;
  }
}

TEST(FashionMnist, KnowsItsFormatWithoutFiles) {
  kd::load_plugins();
  const kd::DataInfo info = kd::make<kd::DataSet>("{ type = 'fashion_mnist' }")->info();
  EXPECT_EQ(info.channels, 1);
  EXPECT_EQ(info.height, 28);
  EXPECT_EQ(info.width, 28);
  ASSERT_EQ(info.classes(), 10);
  EXPECT_EQ(info.class_names[9], "Ankle boot");
}

TEST(FashionMnist, LoadsTheOfficialFiles) {
  const char* const root = std::getenv("KD_DATA");
  if (root == nullptr || !std::filesystem::exists(std::filesystem::path(root) / "fashion-mnist")) {
    GTEST_SKIP() << "KD_DATA names no data root with fashion-mnist";
  }
  kd::load_plugins();
  const auto data = kd::make<kd::DataSet>("{ type = 'fashion_mnist' }", {.root = root});
  const kd::ImageSet train = data->load(kd::Split::kTrain), test = data->load(kd::Split::kTest);
  ASSERT_EQ(train.images.sizes(), (at::IntArrayRef{60'000, 1, 28, 28}));
  ASSERT_EQ(test.images.sizes(), (at::IntArrayRef{10'000, 1, 28, 28}));
  EXPECT_TRUE(at::bincount(train.labels).eq(6000).all().item<bool>());
  EXPECT_TRUE(at::bincount(test.labels).eq(1000).all().item<bool>());
  EXPECT_EQ(train.images.sum().item<std::int64_t>(), 3'431'114'169);
  EXPECT_EQ(test.images.sum().item<std::int64_t>(), 573'469'082);
  const at::Tensor pixels = train.images.to(at::kDouble).div(255);
  EXPECT_NEAR(pixels.mean().item<double>(), data->info().mean[0], 5e-5);
  EXPECT_NEAR(pixels.std(false).item<double>(), data->info().deviation[0], 5e-5);
}

}  // namespace
