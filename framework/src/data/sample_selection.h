// Which training images a recipe's selection keeps, and under which labels.
#pragma once

#include <cstdint>
#include <vector>

#include "kd/api.h"
#include "recipe/plan.h"

namespace kd {

/// Number of each class in the task; −1 for a class that is not part of it. Throws RecipeError where the selection
/// names a class that is not there, or one twice.
std::vector<std::int64_t> class_numbers(std::int64_t classes, const DataSelection& selection, const Location& place);

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

}  // namespace kd
