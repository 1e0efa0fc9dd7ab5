// Tests of the data set "cifar100"; its reader is tested with "cifar10".
#include <ATen/ops/bincount.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "kd/dataset.h"
#include "kd/plugin.h"

namespace {

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

std::unique_ptr<kd::DataSet> make_cifar100(const std::string& labels, const std::filesystem::path& root) {
  kd::load_plugins();
  return kd::make<kd::DataSet>("{ type = 'cifar100', labels = '" + labels + "' }", {.root = root});
}

TEST(Cifar100, NamesTheMissingFileAndTheRemedy) {
  const auto data = make_cifar100("fine", "no-such-root");
  const std::string images = error_of([&] { data->load(kd::Split::kTest); });
  EXPECT_NE(images.find("no-such-root/cifar-100-binary/test.bin"), std::string::npos) << images;
  EXPECT_NE(images.find("kdrun data fetch cifar100, or give --data-root"), std::string::npos) << images;
  const std::string names = error_of([&] { data->info(); });
  EXPECT_NE(names.find("no-such-root/cifar-100-binary/fine_label_names.txt"), std::string::npos) << names;
}

/// A folder in the layout of the official archive, whose test image i has fine label i mod 100 and coarse label 3.
class FakeRoot {
 public:
  FakeRoot() : root_(std::filesystem::path(::testing::TempDir()) / ("cifar100_test." + std::to_string(::getpid()))) {
    std::filesystem::create_directories(root_ / "cifar-100-binary");
    std::string bytes(10'000 * 3074, '\0');
    for (std::size_t i = 0; i < 10'000; ++i) {
      bytes[i * 3074] = 3;
      bytes[i * 3074 + 1] = static_cast<char>(i % 100);
    }
    write("test.bin", bytes);
    std::string names;
    for (int i = 0; i < 20; ++i) names += "group_" + std::to_string(i) + "\n";
    write("coarse_label_names.txt", names);
  }
  ~FakeRoot() { std::filesystem::remove_all(root_); }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  const std::filesystem::path& path() const { return root_; }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(root_ / "cifar-100-binary" / name, std::ios::binary) << bytes;
  }

 private:
  const std::filesystem::path root_;
};

TEST(Cifar100, GivesFineOrCoarseLabels) {
  const FakeRoot root;
  const kd::ImageSet fine = make_cifar100("fine", root.path())->load(kd::Split::kTest);
  EXPECT_EQ(fine.images.sizes(), (at::IntArrayRef{10'000, 3, 32, 32}));
  EXPECT_TRUE(at::bincount(fine.labels).eq(100).all().item<bool>());
  const auto coarse = make_cifar100("coarse", root.path());
  EXPECT_TRUE(coarse->load(kd::Split::kTest).labels.eq(3).all().item<bool>());
  ASSERT_EQ(coarse->info().classes(), 20);
  EXPECT_EQ(coarse->info().class_names[19], "group_19");
}

TEST(Cifar100, RefusesATruncatedFile) {
  const FakeRoot root;
  root.write("train.bin", std::string(3074 * 2 + 5, '\0'));
  const std::string error = error_of([&] { make_cifar100("fine", root.path())->load(kd::Split::kTrain); });
  EXPECT_NE(error.find("train.bin: found 6153 bytes, which are no whole records, want 50000 records of 3074 bytes"),
            std::string::npos)
      << error;
}

TEST(Cifar100, LoadsTheOfficialFiles) {
  const char* const root = std::getenv("KD_DATA");
  if (root == nullptr || !std::filesystem::exists(std::filesystem::path(root) / "cifar-100-binary")) {
    GTEST_SKIP() << "KD_DATA names no data root with cifar-100-binary";
  }
  const auto data = make_cifar100("fine", root);
  const kd::ImageSet train = data->load(kd::Split::kTrain), test = data->load(kd::Split::kTest);
  ASSERT_EQ(train.images.sizes(), (at::IntArrayRef{50'000, 3, 32, 32}));
  ASSERT_EQ(test.images.sizes(), (at::IntArrayRef{10'000, 3, 32, 32}));
  EXPECT_TRUE(at::bincount(train.labels, {}, 100).eq(500).all().item<bool>());
  EXPECT_TRUE(at::bincount(test.labels, {}, 100).eq(100).all().item<bool>());
  const kd::DataInfo info = data->info();
  EXPECT_EQ(info.class_names[static_cast<std::size_t>(train.labels[0].item<std::int64_t>())], "cattle");
  const std::vector<std::int64_t> sums{6'620'373'279, 6'352'382'090, 5'756'623'363};
  for (std::size_t i = 0; i < 3; ++i) {
    const at::Tensor pixels = train.images.select(1, static_cast<std::int64_t>(i));
    EXPECT_EQ(pixels.sum().item<std::int64_t>(), sums[i]);
    EXPECT_NEAR(pixels.to(at::kDouble).mean().item<double>() / 255, info.mean[i], 3e-4);
    EXPECT_NEAR(pixels.to(at::kDouble).std(false).item<double>() / 255, info.deviation[i], 3e-4);
  }
  const kd::ImageSet coarse = make_cifar100("coarse", root)->load(kd::Split::kTrain);
  EXPECT_TRUE(at::bincount(coarse.labels, {}, 20).eq(2500).all().item<bool>());
  EXPECT_EQ(make_cifar100("coarse", root)->info().class_names[11], "large_omnivores_and_herbivores");
}

}  // namespace
