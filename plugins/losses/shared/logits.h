// What losses on outputs share: the precision they compute in, divergences of softmaxes, and logits of a common scale.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/std.h>

#include "kd/loss.h"

namespace logit {

/// `given` in the precision that losses are computed in.
inline at::Tensor precise(const at::Tensor& given) {
  return given.scalar_type() == at::kDouble ? given : given.to(at::kFloat);
}

struct Pair {
  at::Tensor student, teacher;
};

/// The logits of both, in one precision; the teacher's without gradient.
inline Pair precise_pair(const kd::LossInput& input) {
  const at::Tensor student = precise(input.student.logits);
  return {student, input.teacher->logits.detach().to(student.scalar_type())};
}

/// log softmax(z/T) over the classes.
inline at::Tensor log_softmax_at(const at::Tensor& logits, double temperature) {
  return at::log_softmax(temperature == 1 ? logits : logits / temperature, 1);
}

/// KL(a‖b) of each row, from logarithms: finite where a probability rounds to 0.
inline at::Tensor row_divergences(const at::Tensor& log_a, const at::Tensor& log_b) {
  return (log_a.exp() * (log_a - log_b)).sum(1);
}

/// z/σ with σ the row's unbiased standard deviation over the classes. The gradient flows through σ. Rows that are
/// constant stay finite.
inline at::Tensor rescale(const at::Tensor& logits) {
  constexpr double kLeastDeviation = 1e-7;
  return logits / at::std(logits, at::IntArrayRef{1}, true, true).clamp_min(kLeastDeviation);
}

/// (z − mean)/(σ + 1e-7) of each row, with σ unbiased: Sun et al., CVPR 2024, arXiv 2403.01427.
inline at::Tensor standardise(const at::Tensor& logits) {
  constexpr double kEpsilon = 1e-7;
  const at::Tensor centred = logits - logits.mean(1, true);
  return centred / (at::std(logits, at::IntArrayRef{1}, true, true) + kEpsilon);
}

}  // namespace logit
