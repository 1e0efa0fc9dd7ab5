// What augmentations that mix samples of one batch share.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/where.h>

#include <string>

#include "kd/batch.h"
#include "kd/diagnostics.h"
#include "kd/random_tensors.h"

namespace mixing {

inline void refuse_mixed(const kd::Batch& batch, const std::string& augmentation) {
  if (batch.targets.mixed()) {
    throw kd::Error(augmentation + " mixes two samples, and these are mixed already; leave one mixing augmentation");
  }
}

/// The row that each row is mixed with, int64, N: a random permutation of the members, in whatever order they stand.
inline at::Tensor partner_rows(kd::RandomKey key, const at::Tensor& index) {
  const at::Tensor first = kd::random_permutation(key.with("first"), index);
  return kd::random_permutation(key.with("second"), index).index_select(0, first.argsort());
}

/// Sets targets of weight · label + (1 − weight) · partner; `weight` is float, N.
inline void set_targets(kd::Batch& batch, const at::Tensor& partner_labels, const at::Tensor& weight) {
  batch.targets.weight = weight;
  batch.targets.partner = at::where(weight.lt(1), partner_labels, batch.targets.labels);
}

}  // namespace mixing
