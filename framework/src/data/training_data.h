// The data of a stage: what a data set holds, after the recipe's selection, on the device of the run.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kd/api.h"
#include "kd/dataset.h"
#include "recipe/plan.h"

namespace kd {

struct KD_API TrainingData {
  DataInfo info;
  ImageSet train, validation, test;        ///< validation is empty (undefined tensors) where none is held out
  std::string fingerprint;                 ///< SHA-256 of everything above
  std::vector<std::int64_t> train_labels;  ///< those of `train`, on the host

  bool has_validation() const { return validation.labels.defined(); }
};

/// Positions of the training images that a selection keeps, and the labels they get. Decided by counter-based
/// randomness from the seed alone.
struct KD_API SelectedSamples {
  std::vector<std::int64_t> train, validation;  ///< positions in the data set
  /// Of every image of the data set, noise included; renumbered under `classes`; −1: hidden.
  std::vector<std::int64_t> labels;
};

/// Throws RecipeError where the selection leaves nothing or asks for what is not there; `place` is named in the
/// message.
KD_API SelectedSamples select_samples(const std::vector<std::int64_t>& labels, std::int64_t classes,
                                      const DataSelection& selection, std::uint64_t seed, const Location& place);

/// Where data sets are looked for: `--data-root`, KD_DATA, ~/.cache/kdrun/data.
KD_API std::filesystem::path data_root(const std::string& given);

/// Throws FileError that names `what` ("data set 'mine'") where a split is not what `info` says: images of bytes,
/// N×C×H×W, and as many labels, each of them a class.
KD_API void check_split(const ImageSet& set, const DataInfo& info, const std::string& what);

/// Loads a data set (once per process, whatever the selection), checks what its plugin gives, and selects.
KD_API TrainingData load_training_data(const ComponentSpec& data, const std::filesystem::path& root, std::uint64_t seed,
                                       at::Device device);

/// The selections of a run, each of which is made and brought to the device once.
class KD_API TrainingDataStore {
 public:
  TrainingDataStore(std::filesystem::path root, std::uint64_t seed, at::Device device)
      : root_(std::move(root)), seed_(seed), device_(device) {}

  /// Valid as long as the store.
  const TrainingData& get(const ComponentSpec& data);

 private:
  std::filesystem::path root_;
  std::uint64_t seed_;
  at::Device device_;
  std::map<std::string, TrainingData> loaded_;
};

}  // namespace kd
