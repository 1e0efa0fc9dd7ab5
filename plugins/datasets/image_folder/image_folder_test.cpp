// Tests of the data set "image_folder", on folders of PNG files that they write.
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kd/dataset.h"
#include "kd/diagnostics.h"
#include "kd/picture.h"
#include "kd/plugin.h"

namespace {

namespace fs = std::filesystem;

/// A folder of its own, which is also where it is remembered what was seen of files.
class ImageFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    kd::load_plugins();
    fs::remove_all(root_);
    fs::create_directories(root_);
    ::setenv("XDG_CACHE_HOME", (root_ / "cache").c_str(), 1);
  }
  void TearDown() override { fs::remove_all(root_); }

  /// A grey image that is all `value`.
  void add(const std::string& name, std::int64_t value, std::int64_t height = 4, std::int64_t width = 6) {
    add_bytes(name, kd::encode_png(at::full({3, height, width}, value, at::kByte)));
  }
  void add_bytes(const std::string& name, const std::string& bytes) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name, std::ios::binary) << bytes;
  }
  std::unique_ptr<kd::DataSet> make(const std::string& parameters = "") {
    return kd::make<kd::DataSet>("{ type = 'image_folder', path = 'set'" + parameters + " }",
                                 {.root = root_, .say = [this](const std::string& line) { said_.push_back(line); }});
  }
  static std::string error_of(const std::function<void()>& f) {
    try {
      f();
    } catch (const kd::Error& error) {
      return error.text();
    }
    return "";
  }
  /// The first pixel of each sample.
  static std::vector<int> values(const kd::ImageReader& reader) {
    std::vector<int> all;
    for (std::size_t i = 0; i < reader.labels().size(); ++i)
      all.push_back(reader.read(static_cast<std::int64_t>(i))[0][0][0].item<int>());
    return all;
  }

  const fs::path root_ = fs::temp_directory_path() / ("image_folder_test." + std::to_string(::getpid()));
  std::vector<std::string> said_;
};

TEST_F(ImageFolderTest, HasTheClassesAndSplitsOfItsFolders) {
  add("set/train/cat/1.png", 1);
  add("set/train/cat/below/2.png", 2);
  add("set/train/dog/3.PNG", 3, 7, 5);
  add("set/val/cat/4.png", 4);
  add("set/test/dog/5.png", 5);
  add_bytes("set/train/dog/notes.txt", "no image");
  add_bytes("set/train/.hidden/6.png", "no image");
  add_bytes("set/train/dog/.7.png", "no image");
  const auto set = make();
  EXPECT_EQ(set->info().class_names, (std::vector<std::string>{"cat", "dog"}));
  EXPECT_TRUE(set->info().sizes_differ());
  ASSERT_TRUE(set->has(kd::Split::kValidation));
  const auto train = set->open(kd::Split::kTrain);
  EXPECT_EQ(train->labels(), (std::vector<std::int64_t>{0, 0, 1}));
  EXPECT_EQ(values(*train), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(train->size(2).height, 7);
  EXPECT_EQ(train->size(2).width, 5);
  EXPECT_EQ(values(*set->open(kd::Split::kValidation)), (std::vector<int>{4}));
  EXPECT_EQ(values(*set->open(kd::Split::kTest)), (std::vector<int>{5}));
  EXPECT_EQ(set->open(kd::Split::kTest)->labels(), (std::vector<std::int64_t>{1}));
}

TEST_F(ImageFolderTest, TestsOnTheOnlyOtherSplit) {
  add("set/train/cat/1.png", 1);
  add("set/val/cat/2.png", 2);
  const auto set = make();
  EXPECT_FALSE(set->has(kd::Split::kValidation));
  EXPECT_EQ(values(*set->open(kd::Split::kTest)), (std::vector<int>{2}));
}

TEST_F(ImageFolderTest, HoldsOutByNameWhereThereIsNoSplit) {
  for (int i = 0; i < 20; ++i) {
    add("set/cat/" + std::to_string(i) + ".png", i);
    add("set/dog/" + std::to_string(i) + ".png", 100 + i);
  }
  const auto values_of = [&](kd::Split split) { return values(*make(", holdout = 0.2")->open(split)); };
  const std::vector<int> test = values_of(kd::Split::kTest);
  const std::vector<int> train = values_of(kd::Split::kTrain);
  EXPECT_EQ(test.size(), 8U);
  EXPECT_EQ(train.size(), 32U);
  EXPECT_EQ(std::count_if(test.begin(), test.end(), [](int value) { return value < 100; }), 4);
  // Of a class that gets no more images, the same ones.
  for (int i = 20; i < 40; ++i) add("set/cat/" + std::to_string(i) + ".png", i);
  const auto dogs = [](std::vector<int> values) {
    std::erase_if(values, [](int value) { return value < 100; });
    return values;
  };
  EXPECT_EQ(dogs(values_of(kd::Split::kTest)), dogs(test));
  EXPECT_EQ(values_of(kd::Split::kTest).size(), 12U);
}

TEST_F(ImageFolderTest, NamesWhatIsNoImage) {
  add("set/train/cat/1.png", 1);
  add("set/train/cat/2.png", 2);
  add("set/val/cat/3.png", 3);
  const std::string whole = kd::encode_png(at::full({3, 4, 6}, 9, at::kByte));
  add_bytes("set/train/cat/cut.png", whole.substr(0, whole.size() - 20));
  add_bytes("set/train/cat/empty.jpg", "");
  add_bytes("set/train/cat/text.jpeg", "no image");
  add_bytes("set/train/cat/new.webp", "RIFF....WEBP");
  const std::string error = error_of([&] { make()->open(kd::Split::kTrain); });
  EXPECT_NE(error.find("4 of 6 files in " + (root_ / "set").string()), std::string::npos) << error;
  for (const char* name :
       {"train/cat/cut.png: ", "train/cat/empty.jpg: ", "train/cat/text.jpeg: ", "train/cat/new.webp: "})
    EXPECT_NE(error.find(name), std::string::npos) << name << error;
  EXPECT_NE(error.find("on_bad = \"skip\""), std::string::npos) << error;

  const auto train = make(", on_bad = 'skip'")->open(kd::Split::kTrain);
  EXPECT_EQ(values(*train), (std::vector<int>{1, 2}));
  ASSERT_EQ(said_.size(), 1U);
  EXPECT_NE(said_[0].find("left out: 4 of 6 files"), std::string::npos) << said_[0];
}

TEST_F(ImageFolderTest, LooksAtAFileOnceAndAgainWhereItChanged) {
  add("set/train/cat/1.png", 1);
  add("set/train/cat/2.png", 2);
  add("set/val/cat/3.png", 3);
  const auto fingerprint = [&] { return make()->open(kd::Split::kTrain)->fingerprint(); };
  const std::string first = fingerprint();
  EXPECT_EQ(fingerprint(), first);
  // Under the same size and time nothing is read, so other bytes go unseen: that is what is kept.
  const fs::path file = root_ / "set/train/cat/2.png";
  const auto time = fs::last_write_time(file);
  const std::string bytes = kd::encode_png(at::full({3, 4, 6}, 2, at::kByte));
  add_bytes("set/train/cat/2.png", std::string(bytes.size(), 'x'));
  fs::last_write_time(file, time);
  EXPECT_EQ(fingerprint(), first);
  // Another time, and it is read again: now it is no image, then it is the same one, then another.
  fs::last_write_time(file, time + std::chrono::seconds(2));
  EXPECT_NE(error_of([&] { make()->open(kd::Split::kTrain); }).find("train/cat/2.png"), std::string::npos);
  add("set/train/cat/2.png", 2);
  fs::last_write_time(file, time + std::chrono::seconds(4));
  EXPECT_EQ(fingerprint(), first);
  add("set/train/cat/2.png", 7);
  fs::last_write_time(file, time + std::chrono::seconds(6));
  EXPECT_NE(fingerprint(), first);
}

TEST_F(ImageFolderTest, RefusesAFileThatChangesDuringARun) {
  add("set/train/cat/1.png", 1);
  add("set/val/cat/2.png", 2);
  const auto train = make()->open(kd::Split::kTrain);
  add("set/train/cat/1.png", 1, 9, 9);
  EXPECT_NE(error_of([&] { train->read(0); }).find("1.png was changed since the run began"), std::string::npos);
  fs::remove(root_ / "set/train/cat/1.png");
  EXPECT_NE(error_of([&] { train->read(0); }).find("1.png was changed since the run began"), std::string::npos);
}

TEST_F(ImageFolderTest, SaysWhatIsWrongWithTheFolder) {
  EXPECT_NE(error_of([&] { make(); }).find("there is no folder " + (root_ / "set").string()), std::string::npos);
  fs::create_directories(root_ / "set");
  EXPECT_NE(error_of([&] { make(); }).find("has no folders: each class is one"), std::string::npos);
  add("set/val/cat/1.png", 1);
  EXPECT_NE(error_of([&] { make(); }).find("has a folder 'val' and none named 'train'"), std::string::npos);
  add("set/train/cat/2.png", 2);
  add("set/val/cow/3.png", 3);
  const std::string error = error_of([&] { make(); });
  EXPECT_NE(error.find("set/val/cow is a class that the training images do not have"), std::string::npos) << error;
  EXPECT_NE(error.find("they have: cat"), std::string::npos) << error;
  fs::remove_all(root_ / "set/val/cow");
  fs::create_directories(root_ / "set/train/dog");
  EXPECT_NE(error_of([&] { make(); }).find("set/train/dog has no images"), std::string::npos);
}

}  // namespace
