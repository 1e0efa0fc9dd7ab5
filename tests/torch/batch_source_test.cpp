// Tests of how batches come about: images in memory and images that are read give the same bits, whatever the threads,
// from any batch on; what cannot be read ends the epoch.
#include "data/batch_source.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "data/training_data.h"
#include "kd/diagnostics.h"
#include "kd/testing/basics.h"
#include "plugin/registry.h"

namespace {

constexpr kd::RandomKey kOrder{11}, kViews{12};

/// Images of sizes of their own, made of their number.
class Files final : public kd::ImageReader {
 public:
  explicit Files(std::int64_t count, std::int64_t broken = -1) : broken_(broken) {
    for (std::int64_t i = 0; i < count; ++i) labels_.push_back(i % 3);
  }
  const std::vector<std::int64_t>& labels() const override { return labels_; }
  kd::ImageSize size(std::int64_t sample) const override { return {20 + sample % 7, 24 + sample % 5, 3}; }
  at::Tensor read(std::int64_t sample) const override {
    ++reads;
    if (sample == broken_) throw kd::FileError("number " + std::to_string(sample) + " is broken");
    const kd::ImageSize extent = size(sample);
    return kd::testing::byte_batch(1, 3, extent.height, extent.width, 1, static_cast<std::uint64_t>(sample)).images[0];
  }
  std::string fingerprint() const override { return "files"; }

  mutable std::atomic<int> reads = 0;

 private:
  std::vector<std::int64_t> labels_;
  std::int64_t broken_;
};

const kd::DataInfo kInfo{3, 16, 16, {"a", "b", "c"}, {0.5, 0.5, 0.5}, {0.2, 0.2, 0.2}, "files"};

struct Source {
  std::shared_ptr<const kd::ImageReader> reader;
  std::vector<kd::ComponentSpec> augment;
  kd::AugmentationChain chain;
  kd::SplitData split;
};

kd::SplitData read_split(const std::shared_ptr<const kd::ImageReader>& reader,
                         const std::shared_ptr<const kd::Sizing>& sizing, std::size_t threads, bool keep,
                         at::Device device) {
  std::vector<std::int64_t> samples;
  for (std::size_t i = 0; i < reader->labels().size(); ++i) samples.push_back(static_cast<std::int64_t>(i));
  const at::Tensor labels = at::tensor(reader->labels(), at::kLong);
  return {labels.to(device), labels,
          std::make_shared<kd::SampleLoader>(std::make_shared<kd::DecodedImages>(reader, keep), samples, sizing, kInfo,
                                             std::make_shared<kd::WorkerPool>(threads))};
}

Source make_source(const std::string& augment, std::size_t threads, bool keep, at::Device device,
                   std::shared_ptr<const kd::ImageReader> reader = std::make_shared<Files>(50)) {
  kd::load_plugins();
  const auto specs = kd::parse_components("augmentation", augment);
  kd::SplitData split = read_split(reader, kd::make_sizing(specs, kInfo), threads, keep, device);
  return {std::move(reader), specs, kd::AugmentationChain(specs, kInfo), std::move(split)};
}

std::vector<kd::Batch> batches_of(const Source& source, std::int64_t first, std::int64_t batches) {
  kd::BatchSource batches_source(source.split, source.chain, 16);
  batches_source.begin_epoch(kOrder, kViews, first);
  std::vector<kd::Batch> all;
  for (std::int64_t i = 0; i < batches; ++i) {
    all.push_back(batches_source.next());
    all.back().index = all.back().index.clone();
  }
  return all;
}

constexpr const char* kRandom =
    "[{ type = 'random_resized_crop', size = 16 }, { type = 'horizontal_flip' }, { type = 'normalize' }]";
constexpr const char* kFixed =
    "[{ type = 'resize', size = 16 }, { type = 'random_crop', padding = 2 }, { type = 'mixup' }]";
constexpr const char* kPartners =
    "[{ type = 'random_resized_crop', size = 16 }, { type = 'same_class' }, { type = 'cutmix' }]";

TEST(BatchSource, ReadsTheSameBitsWithAnyThreadsFromAnyBatchOn) {
  for (const at::Device device : kd::testing::devices()) {
    for (const char* augment : {kRandom, kFixed, kPartners}) {
      const auto expected = batches_of(make_source(augment, 1, false, device), 0, 4);
      EXPECT_EQ(expected.back().images.size(0), 2);
      for (const std::size_t threads : {2U, 7U}) {
        for (const bool keep : {false, true}) {
          const auto same = batches_of(make_source(augment, threads, keep, device), 0, 4);
          for (std::size_t i = 0; i < 4; ++i) {
            EXPECT_TRUE(same[i].images.equal(expected[i].images)) << augment << ' ' << threads << ' ' << i;
            EXPECT_TRUE(same[i].targets.labels.equal(expected[i].targets.labels));
            EXPECT_TRUE(same[i].index.equal(expected[i].index));
          }
        }
      }
      const auto resumed = batches_of(make_source(augment, 3, false, device), 2, 2);
      EXPECT_TRUE(resumed[0].images.equal(expected[2].images)) << augment;
      EXPECT_TRUE(resumed[1].images.equal(expected[3].images)) << augment;
    }
  }
}

TEST(BatchSource, ProcessesShareTheRowsOfEachBatch) {
  for (const at::Device device : kd::testing::devices()) {
    const Source source = make_source(kRandom, 2, false, device);
    for (const std::int64_t size : {2, 3}) {
      std::vector<std::unique_ptr<kd::BatchSource>> shards;
      for (std::int64_t rank = 0; rank < size; ++rank) {
        shards.push_back(std::make_unique<kd::BatchSource>(source.split, source.chain, 17, kd::Shard{rank, size}));
        shards.back()->begin_epoch(kOrder, kViews, 0);
      }
      kd::BatchSource all(source.split, source.chain, 17);
      all.begin_epoch(kOrder, kViews, 0);
      for (int i = 0; i < 3; ++i) {  // 17, 17 and 16 rows
        std::vector<at::Tensor> images, labels;
        for (const auto& shard : shards) {
          const kd::Batch batch = shard->next();
          images.push_back(batch.images);
          labels.push_back(batch.targets.labels);
        }
        const kd::Batch expected = all.next();
        EXPECT_TRUE(at::cat(images).equal(expected.images)) << size << ' ' << i;
        EXPECT_TRUE(at::cat(labels).equal(expected.targets.labels));
      }
    }
  }
}

TEST(BatchSource, ImagesInMemoryAreThoseThatWereRead) {
  for (const at::Device device : kd::testing::devices()) {
    const Source read = make_source(kFixed, 2, false, device);
    kd::ImageBatches all(read.split, 50, 0, 50);
    Source in_memory = make_source(kFixed, 2, false, device);
    in_memory.split = kd::SplitData({all.next().clone(), read.split.labels()});
    const auto expected = batches_of(read, 0, 4);
    const auto same = batches_of(in_memory, 0, 4);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(same[i].images.equal(expected[i].images));
  }
}

TEST(BatchSource, OnAGpuAStepFindsItsInputsWhereTheLastOneDid) {
  for (const at::Device device : kd::testing::devices()) {
    if (device.is_cpu()) continue;
    const Source source = make_source(kFixed, 2, false, device);
    kd::BatchSource batches(source.split, source.chain, 16);
    batches.begin_epoch(kOrder, kViews, 0);
    const void* index = batches.next().index.const_data_ptr();
    for (int i = 0; i < 2; ++i) EXPECT_EQ(batches.next().index.const_data_ptr(), index);
    kd::ImageBatches images(source.split, 16, 0, 50);
    const void* pixels = images.next().const_data_ptr();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(images.next().const_data_ptr(), pixels);
  }
}

TEST(BatchSource, ViewsOfASampleDifferBetweenEpochs) {
  const Source source = make_source(kRandom, 2, true, at::kCPU);
  kd::BatchSource batches(source.split, source.chain, 50);
  batches.begin_epoch(kOrder, kViews, 0);
  const kd::Batch first = batches.next();
  batches.begin_epoch(kOrder, kd::RandomKey{13}, 0);
  const kd::Batch second = batches.next();
  EXPECT_TRUE(first.index.equal(second.index));
  for (std::int64_t i = 0; i < 50; ++i) EXPECT_FALSE(first.images[i].equal(second.images[i]));
}

TEST(BatchSource, KeepsWhatItDecoded) {
  const auto files = std::make_shared<Files>(50);
  const Source source = make_source(kRandom, 3, true, at::kCPU, files);
  for (int i = 0; i < 3; ++i) batches_of(source, 0, 4);
  EXPECT_EQ(files->reads, 50);
  const auto again = std::make_shared<Files>(50);
  const Source anew = make_source(kRandom, 3, false, at::kCPU, again);
  for (int i = 0; i < 3; ++i) batches_of(anew, 0, 4);
  EXPECT_EQ(again->reads, 150);
}

TEST(BatchSource, AFileThatCannotBeReadEndsTheEpoch) {
  const Source source = make_source(kRandom, 3, false, at::kCPU, std::make_shared<Files>(50, 7));
  try {
    batches_of(source, 0, 4);
    FAIL() << "nothing was thrown";
  } catch (const kd::FileError& error) {
    EXPECT_EQ(std::string(error.what()), "number 7 is broken");
  }
}

TEST(BatchSource, AnEpochMayBeLeftInTheMiddle) {
  const Source source = make_source(kRandom, 2, false, at::kCPU, std::make_shared<Files>(5000));
  kd::BatchSource batches(source.split, source.chain, 500);
  for (int i = 0; i < 5; ++i) {
    batches.begin_epoch(kOrder, kViews, 0);
    batches.next();
  }
}

TEST(BatchSource, RefusesImagesOfAnotherSize) {
  const auto specs = kd::parse_components("augmentation", "[{ type = 'normalize' }]");
  const kd::SplitData split = read_split(std::make_shared<Files>(10), nullptr, 2, false, at::kCPU);
  try {
    split.images(0, 3);
    FAIL() << "nothing was thrown";
  } catch (const kd::Error& error) {
    EXPECT_NE(std::string(error.what()).find("where bytes of 3×16×16 are wanted"), std::string::npos) << error.what();
  }
}

std::string chain_error(const std::string& augment) {
  kd::load_plugins();
  try {
    kd::AugmentationChain(kd::parse_components("augmentation", augment), kInfo);
  } catch (const kd::RecipeError& error) {
    return error.what();
  }
  return "";
}

TEST(AugmentationOrder, IsRefusedWhereItIsWrong) {
  EXPECT_EQ(chain_error("[{ type = 'resize', size = 16 }, { type = 'normalize' }]"), "");
  EXPECT_NE(chain_error("[{ type = 'horizontal_flip' }, { type = 'resize', size = 16 }]").find("must be the first"),
            std::string::npos);
  EXPECT_NE(chain_error("[{ type = 'resize', size = 16 }, { type = 'resize', size = 16 }]").find("must be the first"),
            std::string::npos);
  EXPECT_NE(chain_error("[{ type = 'normalize' }, { type = 'color_jitter' }]").find("comes after 'normalize'"),
            std::string::npos);
  EXPECT_NE(chain_error("[{ type = 'normalize' }, { type = 'normalize' }]").find("both change the units"),
            std::string::npos);
}

}  // namespace
