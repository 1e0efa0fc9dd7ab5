// Tests of the data set "mnist" and of the reader of IDX files.
#include <ATen/ops/bincount.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "idx.h"
#include "kd/plugin.h"

namespace {

using Bytes = std::vector<std::uint8_t>;

idx::File make_file(const Bytes& header, const Bytes& body) {
  idx::File file{"folder/name", "run: fetch", header};
  file.bytes.insert(file.bytes.end(), body.begin(), body.end());
  return file;
}

Bytes image_header(std::uint8_t count) { return {0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28}; }
Bytes label_header(std::uint8_t count) { return {0, 0, 8, 1, 0, 0, 0, count}; }

/// What the function throws as kd::FileError; empty where it does not.
template <class F>
std::string error_of(const F& function) {
  try {
    function();
  } catch (const kd::FileError& error) {
    return error.what();
  }
  return {};
}

std::string image_error(const Bytes& header, const Bytes& body, std::int64_t count) {
  return error_of([&] { idx::parse_images(make_file(header, body), count); });
}

std::string label_error(const Bytes& header, const Bytes& body, std::int64_t count) {
  return error_of([&] { idx::parse_labels(make_file(header, body), count); });
}

TEST(Idx, ReadsImagesInOrder) {
  Bytes body(2 * 784);
  body[1] = 7;         // image 0, row 0, column 1
  body[784 + 56] = 9;  // image 1, row 2, column 0
  body[2 * 784 - 1] = 255;
  const at::Tensor images = idx::parse_images(make_file(image_header(2), body), 2);
  EXPECT_EQ(images.scalar_type(), at::kByte);
  ASSERT_EQ(images.sizes(), (at::IntArrayRef{2, 1, 28, 28}));
  EXPECT_EQ(images[0][0][0][1].item<int>(), 7);
  EXPECT_EQ(images[1][0][2][0].item<int>(), 9);
  EXPECT_EQ(images[1][0][27][27].item<int>(), 255);
  EXPECT_EQ(images.sum().item<std::int64_t>(), 271);
}

TEST(Idx, ReadsLabels) {
  const at::Tensor labels = idx::parse_labels(make_file(label_header(3), {4, 0, 9}), 3);
  EXPECT_EQ(labels.scalar_type(), at::kLong);
  ASSERT_EQ(labels.sizes(), (at::IntArrayRef{3}));
  EXPECT_EQ(labels[0].item<std::int64_t>(), 4);
  EXPECT_EQ(labels[1].item<std::int64_t>(), 0);
  EXPECT_EQ(labels[2].item<std::int64_t>(), 9);
}

TEST(Idx, SaysWhatIsWrongWithAFile) {
  const Bytes image(784);
  Bytes narrow = image_header(1);
  narrow.back() = 27;
  EXPECT_EQ(image_error({}, {}, 1), "folder/name: found 0 bytes, want a header of 16 bytes; run: fetch");
  EXPECT_EQ(image_error(label_header(1), image, 1), "folder/name: found magic number 2049, want 2051; run: fetch");
  EXPECT_EQ(image_error(image_header(1), image, 2), "folder/name: found count of images 1, want 2; run: fetch");
  EXPECT_EQ(image_error(narrow, image, 1), "folder/name: found count of columns 27, want 28; run: fetch");
  EXPECT_EQ(image_error(image_header(1), Bytes(783), 1),
            "folder/name: found 799 bytes, want 800 by its header; run: fetch");
  EXPECT_EQ(image_error(image_header(1), Bytes(785), 1),
            "folder/name: found 801 bytes, want 800 by its header; run: fetch");
  EXPECT_EQ(label_error(label_header(2), {1, 2}, 3), "folder/name: found count of labels 2, want 3; run: fetch");
  EXPECT_EQ(label_error(label_header(2), {1, 10}, 2),
            "folder/name: found label 10 at byte 9, want labels from 0 to 9; run: fetch");
}

TEST(Idx, ReadsCountsOfFourBytesBigEndian) {
  const idx::File file = make_file({0, 0, 8, 1, 0, 0, 1, 2}, Bytes(258, 3));
  EXPECT_EQ(idx::parse_labels(file, 258).sum().item<std::int64_t>(), 3 * 258);
}

TEST(Mnist, NamesTheMissingFileAndTheRemedy) {
  kd::load_plugins();
  const auto data = kd::make<kd::DataSet>("{ type = 'mnist' }", {.root = "no-such-root"});
  const std::string error = error_of([&] { data->load(kd::Split::kTest); });
  EXPECT_NE(error.find("no-such-root/mnist/t10k-images-idx3-ubyte"), std::string::npos) << error;
  EXPECT_NE(error.find("kdrun data fetch mnist, or give --data-root"), std::string::npos) << error;
}

TEST(Mnist, KnowsItsFormatWithoutFiles) {
  kd::load_plugins();
  const kd::DataInfo info = kd::make<kd::DataSet>("{ type = 'mnist' }")->info();
  EXPECT_EQ(info.channels, 1);
  EXPECT_EQ(info.height, 28);
  EXPECT_EQ(info.width, 28);
  ASSERT_EQ(info.classes(), 10);
  EXPECT_EQ(info.class_names[7], "7");
}

TEST(Mnist, LoadsTheOfficialFiles) {
  const char* const root = std::getenv("KD_DATA");
  if (root == nullptr || !std::filesystem::exists(std::filesystem::path(root) / "mnist")) {
    GTEST_SKIP() << "KD_DATA names no data root with mnist";
  }
  kd::load_plugins();
  const auto data = kd::make<kd::DataSet>("{ type = 'mnist' }", {.root = root});
  const kd::ImageSet train = data->load(kd::Split::kTrain), test = data->load(kd::Split::kTest);
  ASSERT_EQ(train.images.sizes(), (at::IntArrayRef{60'000, 1, 28, 28}));
  ASSERT_EQ(test.images.sizes(), (at::IntArrayRef{10'000, 1, 28, 28}));
  const std::vector<std::int64_t> train_counts{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949};
  const std::vector<std::int64_t> test_counts{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009};
  const at::Tensor train_histogram = at::bincount(train.labels), test_histogram = at::bincount(test.labels);
  for (std::int64_t i = 0; i < 10; ++i) {
    EXPECT_EQ(train_histogram[i].item<std::int64_t>(), train_counts[static_cast<std::size_t>(i)]);
    EXPECT_EQ(test_histogram[i].item<std::int64_t>(), test_counts[static_cast<std::size_t>(i)]);
  }
  EXPECT_EQ(train.images.sum().item<std::int64_t>(), 1'567'298'545);
  EXPECT_EQ(test.images.sum().item<std::int64_t>(), 264'923'200);
  const at::Tensor pixels = train.images.to(at::kDouble).div(255);
  EXPECT_NEAR(pixels.mean().item<double>(), data->info().mean[0], 5e-5);
  EXPECT_NEAR(pixels.std(false).item<double>(), data->info().deviation[0], 5e-5);
}

}  // namespace
