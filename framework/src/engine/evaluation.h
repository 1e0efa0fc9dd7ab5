// What a network answers to a whole set.
#pragma once

#include <ATen/core/Tensor.h>

#include "data/batches.h"
#include "engine/placement.h"
#include "kd/group.h"

namespace kd {

/// Logits of the first `most` samples of a split, in evaluation mode: float, N×classes, on the device. Each process of
/// `group` computes its share, and gets all.
KD_API at::Tensor evaluate_logits(Model& model, const Placement& placement, const SplitData& set,
                                  const AugmentationChain& augmentations, std::int64_t batch_size, std::int64_t most,
                                  Group& group = Group::alone());

}  // namespace kd
