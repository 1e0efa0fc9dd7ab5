// What a network answers to a whole set.
#pragma once

#include <ATen/core/Tensor.h>

#include "data/batches.h"
#include "engine/placement.h"

namespace kd {

/// Logits of a whole set, in evaluation mode: float, N×classes, on the device.
KD_API at::Tensor evaluate_logits(Model& model, const Placement& placement, const ImageSet& set,
                                  const AugmentationChain& augmentations, std::int64_t batch_size);

}  // namespace kd
