// The data of a stage: what a data set holds, after the recipe's selection, in one size, for the device of the run.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "data/epoch_order.h"
#include "data/split_data.h"
#include "kd/api.h"
#include "kd/dataset.h"
#include "recipe/plan.h"

namespace kd {

struct KD_API TrainingData {
  DataInfo info;                           ///< of the images as networks get them
  SplitData train, validation, test;       ///< validation is undefined where there is none
  std::string fingerprint;                 ///< SHA-256 of everything above, but for what a sizing does
  std::vector<std::int64_t> train_labels;  ///< those of `train`, on the host
  SampleSources sources;                   ///< of `train`

  bool has_validation() const { return validation.defined(); }
};

/// How a stage wants to see a data set.
struct KD_API DataRequest {
  ComponentSpec data = {};
  std::vector<ComponentSpec> augment = {};  ///< a sizing at its beginning decides the size of the images
  bool keep_images = true;                  ///< in memory, decoded, where they fit
  std::int64_t loader_threads = 0;          ///< that read images; 0: one for each processor
  std::filesystem::path root = {};          ///< of the data sets
  std::uint64_t seed = 0;                   ///< of the selection
  at::Device device = at::kCPU;
  std::function<void(const std::string&)> say = nullptr;
};

/// What a stage with these settings asks for, beside root, seed, device and who is told. `augment` is the first of its
/// augmentations alone: only that can be a sizing, and stages that differ in the others share their images.
KD_API DataRequest data_request(const ComponentSpec& data, const TrainSettings& train);

/// Where data sets are looked for: `--data-root`, KD_DATA, ~/.cache/kdrun/data.
KD_API std::filesystem::path data_root(const std::string& given);

/// Loads or opens a data set (once per process, whatever the selection), checks what its plugin gives, and selects.
KD_API TrainingData load_training_data(const DataRequest& request);

/// Channels, size, classes and statistics of the images as networks get them, without loading any.
KD_API DataInfo describe_data(const DataRequest& request);

/// The selections of a run, each of which is made and brought to the device once.
class KD_API TrainingDataStore {
 public:
  TrainingDataStore(std::filesystem::path root, std::uint64_t seed, at::Device device,
                    std::function<void(const std::string&)> say)
      : root_(std::move(root)), seed_(seed), device_(device), say_(std::move(say)) {}

  /// The data of a stage with these settings; valid as long as the store.
  const TrainingData& get(const ComponentSpec& data, const TrainSettings& train);

 private:
  std::filesystem::path root_;
  std::uint64_t seed_;
  at::Device device_;
  std::function<void(const std::string&)> say_;
  std::map<std::string, TrainingData> loaded_;
};

}  // namespace kd
