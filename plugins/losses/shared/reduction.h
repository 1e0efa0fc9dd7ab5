// The parameter `reduction`: what a sum over batch and classes is divided by.
#pragma once

#include <ATen/core/Tensor.h>

#include "kd/schema.h"

namespace reductions {

enum class Reduction { kBatchMean, kMean };

template <class Params>
kd::FieldBuilder declare(kd::Schema<Params>& schema, Reduction Params::*member) {
  return schema.choice(
      "reduction", member, {{"batchmean", Reduction::kBatchMean}, {"mean", Reduction::kMean}},
      "sum over classes and mean over the batch, or mean over both (1/(B·C), as some repositories have it)");
}

/// The divisor of a sum over all of `logits`, N×classes.
inline double divisor(Reduction reduction, const at::Tensor& logits) {
  return static_cast<double>(reduction == Reduction::kBatchMean ? logits.size(0) : logits.numel());
}

}  // namespace reductions
