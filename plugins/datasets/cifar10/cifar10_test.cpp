// Tests of the data set "cifar10" and of the reader of CIFAR's binary files.
#include <ATen/ops/bincount.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "cifar_binary.h"
#include "kd/plugin.h"

namespace {

constexpr cifar::Layout kOneLabel{.label_bytes = 1, .label = 0, .classes = 10};
constexpr cifar::Layout kTwoLabels{.label_bytes = 2, .label = 1, .classes = 100};

cifar::File make_file(std::size_t bytes) { return {"folder/name", "run: fetch", std::vector<std::uint8_t>(bytes)}; }

cifar::File make_text(const std::string& text) {
  return {"folder/names", "run: fetch", std::vector<std::uint8_t>(text.begin(), text.end())};
}

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

TEST(CifarBinary, ReadsRecordsOfOneLabel) {
  cifar::File file = make_file(2 * 3073);
  file.bytes[0] = 3;
  file.bytes[1] = 11;              // record 0, red, row 0, column 0
  file.bytes[1 + 1024 + 33] = 12;  // record 0, green, row 1, column 1
  file.bytes[3073] = 9;
  file.bytes[3073 + 1 + 2 * 1024 + 5] = 13;  // record 1, blue, row 0, column 5
  const kd::ImageSet set = cifar::parse_records(file, kOneLabel, 2);
  EXPECT_EQ(set.images.scalar_type(), at::kByte);
  EXPECT_EQ(set.labels.scalar_type(), at::kLong);
  ASSERT_EQ(set.images.sizes(), (at::IntArrayRef{2, 3, 32, 32}));
  EXPECT_EQ(set.labels[0].item<std::int64_t>(), 3);
  EXPECT_EQ(set.labels[1].item<std::int64_t>(), 9);
  EXPECT_EQ(set.images[0][0][0][0].item<int>(), 11);
  EXPECT_EQ(set.images[0][1][1][1].item<int>(), 12);
  EXPECT_EQ(set.images[1][2][0][5].item<int>(), 13);
  EXPECT_EQ(set.images.sum().item<std::int64_t>(), 36);
}

TEST(CifarBinary, ReadsTheWantedOneOfTwoLabels) {
  cifar::File file = make_file(3074);
  file.bytes[0] = 17;
  file.bytes[1] = 99;
  file.bytes[2] = 5;
  const kd::ImageSet fine = cifar::parse_records(file, kTwoLabels, 1);
  EXPECT_EQ(fine.labels[0].item<std::int64_t>(), 99);
  EXPECT_EQ(fine.images[0][0][0][0].item<int>(), 5);
  const cifar::Layout coarse{.label_bytes = 2, .label = 0, .classes = 20};
  EXPECT_EQ(cifar::parse_records(file, coarse, 1).labels[0].item<std::int64_t>(), 17);
}

TEST(CifarBinary, SaysWhatIsWrongWithAFile) {
  const auto error = [](const cifar::File& file, std::int64_t count) {
    return error_of([&] { cifar::parse_records(file, kOneLabel, count); });
  };
  EXPECT_EQ(error(make_file(2 * 3073 - 1), 2),
            "folder/name: found 6145 bytes, which are no whole records, want 2 records of 3073 bytes; run: fetch");
  EXPECT_EQ(error(make_file(3073), 2), "folder/name: found 1 records, want 2 records of 3073 bytes; run: fetch");
  EXPECT_EQ(error(make_file(0), 2), "folder/name: found 0 records, want 2 records of 3073 bytes; run: fetch");
  cifar::File mislabelled = make_file(2 * 3073);
  mislabelled.bytes[3073] = 10;
  EXPECT_EQ(error(mislabelled, 2), "folder/name: found label 10 in record 1, want labels from 0 to 9; run: fetch");
}

TEST(CifarBinary, ReadsNames) {
  const std::vector<std::string> names{"apple", "maple tree"};
  EXPECT_EQ(cifar::parse_names(make_text("apple\nmaple tree\n\n"), 2), names);
  EXPECT_EQ(cifar::parse_names(make_text("apple\r\nmaple tree"), 2), names);
  EXPECT_EQ(error_of([] { cifar::parse_names(make_text("apple\n"), 2); }),
            "folder/names: found 1 class names, want 2; run: fetch");
}

TEST(Cifar10, NamesTheMissingFileAndTheRemedy) {
  kd::load_plugins();
  const auto data = kd::make<kd::DataSet>("{ type = 'cifar10' }", {.root = "no-such-root"});
  const std::string error = error_of([&] { data->load(kd::Split::kTrain); });
  EXPECT_NE(error.find("no-such-root/cifar-10-batches-bin/data_batch_1.bin"), std::string::npos) << error;
  EXPECT_NE(error.find("kdrun data fetch cifar10, or give --data-root"), std::string::npos) << error;
}

/// A folder in the layout of the official archive, of 10000 records a file whose labels and first pixels tell the file.
class FakeRoot {
 public:
  FakeRoot() : root_(std::filesystem::path(::testing::TempDir()) / ("cifar10_test." + std::to_string(::getpid()))) {
    std::filesystem::create_directories(root_ / "cifar-10-batches-bin");
    for (std::uint8_t i = 1; i <= 5; ++i) write("data_batch_" + std::to_string(i) + ".bin", i);
    write("test_batch.bin", 6);
  }
  ~FakeRoot() { std::filesystem::remove_all(root_); }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  const std::filesystem::path& path() const { return root_; }

 private:
  void write(const std::string& name, std::uint8_t mark) const {
    std::string bytes(10'000 * 3073, '\0');
    for (std::size_t i = 0; i < bytes.size(); i += 3073) bytes[i] = bytes[i + 1] = static_cast<char>(mark);
    std::ofstream(root_ / "cifar-10-batches-bin" / name, std::ios::binary) << bytes;
  }

  const std::filesystem::path root_;
};

TEST(Cifar10, JoinsTheFiveTrainingFiles) {
  const FakeRoot root;
  kd::load_plugins();
  const auto data = kd::make<kd::DataSet>("{ type = 'cifar10' }", {.root = root.path()});
  const kd::ImageSet train = data->load(kd::Split::kTrain), test = data->load(kd::Split::kTest);
  ASSERT_EQ(train.images.sizes(), (at::IntArrayRef{50'000, 3, 32, 32}));
  ASSERT_EQ(train.labels.sizes(), (at::IntArrayRef{50'000}));
  ASSERT_EQ(test.images.sizes(), (at::IntArrayRef{10'000, 3, 32, 32}));
  for (std::int64_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(train.labels.slice(0, i * 10'000, (i + 1) * 10'000).eq(i + 1).all().item<bool>());
  }
  EXPECT_EQ(train.images[10'000][0][0][0].item<int>(), 2);
  EXPECT_EQ(train.images[49'999][0][0][0].item<int>(), 5);
  EXPECT_TRUE(test.labels.eq(6).all().item<bool>());
}

TEST(Cifar10, KnowsItsFormatWithoutFiles) {
  kd::load_plugins();
  const kd::DataInfo info = kd::make<kd::DataSet>("{ type = 'cifar10' }")->info();
  EXPECT_EQ(info.channels, 3);
  EXPECT_EQ(info.height, 32);
  EXPECT_EQ(info.width, 32);
  ASSERT_EQ(info.classes(), 10);
  EXPECT_EQ(info.class_names[6], "frog");
  EXPECT_EQ(info.mean.size(), 3U);
  EXPECT_EQ(info.deviation.size(), 3U);
}

TEST(Cifar10, LoadsTheOfficialFiles) {
  const char* const root = std::getenv("KD_DATA");
  if (root == nullptr || !std::filesystem::exists(std::filesystem::path(root) / "cifar-10-batches-bin")) {
    GTEST_SKIP() << "KD_DATA names no data root with cifar-10-batches-bin";
  }
  kd::load_plugins();
  const auto data = kd::make<kd::DataSet>("{ type = 'cifar10' }", {.root = root});
  const kd::ImageSet train = data->load(kd::Split::kTrain), test = data->load(kd::Split::kTest);
  EXPECT_TRUE(at::bincount(train.labels).eq(5000).all().item<bool>());
  EXPECT_TRUE(at::bincount(test.labels).eq(1000).all().item<bool>());
  const kd::DataInfo info = data->info();
  for (std::int64_t channel = 0; channel < 3; ++channel) {
    const at::Tensor pixels = train.images.select(1, channel).to(at::kDouble).div(255);
    EXPECT_NEAR(pixels.mean().item<double>(), info.mean[static_cast<std::size_t>(channel)], 5e-4);
    EXPECT_NEAR(pixels.std(false).item<double>(), info.deviation[static_cast<std::size_t>(channel)], 5e-4);
  }
}

}  // namespace
