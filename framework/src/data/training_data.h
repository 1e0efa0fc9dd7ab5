// The data of a stage: what a data set holds, after the recipe's selection, on the device of the run.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/dataset.h"
#include "recipe/plan.h"

namespace kd {

struct KD_API TrainingData {
  DataInfo info;
  ImageSet train, validation, test;  ///< validation is empty (undefined tensors) where none is held out
  std::string fingerprint;           ///< SHA-256 of everything above

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
                                      const DataSelection& selection, std::uint64_t seed, const std::string& place);

/// Where data sets are looked for: `--data-root`, KD_DATA, ~/.cache/kdrun/data.
KD_API std::filesystem::path data_root(const std::string& given);

/// Loads a data set (once per process, whatever the selection) and selects.
KD_API TrainingData load_training_data(const ComponentSpec& data, const std::filesystem::path& root, std::uint64_t seed,
                                       at::Device device);

}  // namespace kd
