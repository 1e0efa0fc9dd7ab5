// What losses on labels share: rows without a label, mixed labels, and the classes that are not the label's.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/nll_loss.h>

#include <limits>

#include "kd/batch.h"

namespace kd {

constexpr std::int64_t kUnlabelled = -1;

/// −log p(label) of each row, mixed as the labels are; 0 for an unlabelled part.
inline at::Tensor label_losses(const at::Tensor& log_p, const Targets& targets) {
  const auto losses = [&](const at::Tensor& labels) {
    return at::nll_loss(log_p, labels, {}, at::Reduction::None, kUnlabelled);
  };
  const at::Tensor rows = losses(targets.labels);
  if (!targets.mixed()) return rows;
  return at::lerp(losses(targets.partner), rows, targets.weight.to(rows.scalar_type()));
}

/// bool, N: which rows have a label. A mixed sample has none where either part has none.
inline at::Tensor labelled_rows(const Targets& targets) {
  const at::Tensor labelled = targets.labels != kUnlabelled;
  return targets.mixed() ? at::logical_and(labelled, targets.partner != kUnlabelled) : labelled;
}

/// Mean of the rows that have a label, 0 where none has.
inline at::Tensor labelled_mean(const at::Tensor& rows, const Targets& targets) {
  const at::Tensor mask = labelled_rows(targets).to(rows.scalar_type());
  return (rows * mask).sum() / mask.sum().clamp_min(1);
}

/// bool, N×classes: true at each row's label.
inline at::Tensor label_mask(const at::Tensor& labels, std::int64_t classes) {
  return at::arange(classes, labels.options()) == labels.unsqueeze(1);
}

/// The entry at each row's label; for an unlabelled row any entry.
inline at::Tensor at_label(const at::Tensor& matrix, const at::Tensor& labels) {
  return at::gather(matrix, 1, labels.clamp_min(0).unsqueeze(1)).squeeze(1);
}

/// The logits with −∞ where `mask` is true, which takes those classes out of a softmax.
inline at::Tensor take_out(const at::Tensor& logits, const at::Tensor& mask) {
  return logits.masked_fill(mask, -std::numeric_limits<double>::infinity());
}

/// Log-softmax over the classes where `mask` is false, and 0 where it is true: equal there in any two networks.
inline at::Tensor other_log_softmax(const at::Tensor& logits, const at::Tensor& mask) {
  return at::log_softmax(take_out(logits, mask), 1).masked_fill(mask, 0);
}

}  // namespace kd
