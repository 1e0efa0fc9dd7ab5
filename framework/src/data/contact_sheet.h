// A picture of what a stage's networks will see: samples and their augmented views side by side.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "data/batches.h"
#include "data/training_data.h"
#include "kd/api.h"
#include "kd/random.h"

namespace kd {

/// One augmented image that shows two labels.
struct KD_API MixedTile {
  std::int64_t row = 0, column = 0;  ///< in the sheet; column 0 holds the stored images
  double weight = 1;                 ///< of the first label, in [0, 1]
  std::string label, partner;        ///< names of the two classes
};

struct KD_API ContactSheet {
  at::Tensor picture;  ///< uint8, C×H×W with C = 1 or 3
  std::vector<MixedTile> mixed;
};

/// `rows` samples of the set, the stored image in the first column and then what `columns` epochs make of it, in the
/// order that the networks get; extra views follow their image. Normalisation is undone for the eye. Below each image
/// of two labels a bar shows the weight of its own.
KD_API ContactSheet make_contact_sheet(const TrainingData& data, const AugmentationChain& augmentations, RandomKey key,
                                       std::int64_t rows, std::int64_t columns);

}  // namespace kd
