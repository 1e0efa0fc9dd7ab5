// What losses on outputs share: the precision they compute in, divergences of softmaxes, logits of a common scale, and
// what a sum over batch and classes is divided by.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/std.h>

#include "kd/loss.h"

namespace kd {

/// Turns autocast off while it lives, for matrix products that must be exact: without it, those of a loss have the
/// stage's precision even where they are given fp32.
class KD_API WithoutAutocast {
 public:
  explicit WithoutAutocast(at::Device device);
  ~WithoutAutocast();
  WithoutAutocast(const WithoutAutocast&) = delete;
  WithoutAutocast& operator=(const WithoutAutocast&) = delete;

 private:
  at::DeviceType type_;
  bool was_on_;
};

/// `given` in the precision that losses are computed in: fp32, or fp64 where it is that.
inline at::Tensor precise(const at::Tensor& given) {
  return given.scalar_type() == at::kDouble ? given : given.to(at::kFloat);
}

struct LogitPair {
  at::Tensor student, teacher;
};

/// The logits of the student and of its only teacher, in one precision; the teacher's without gradient.
inline LogitPair precise_logits(const LossInput& input) {
  const at::Tensor student = precise(input.student.logits);
  return {student, input.teacher().logits.detach().to(student.scalar_type())};
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
inline at::Tensor rescale_logits(const at::Tensor& logits) {
  constexpr double kLeastDeviation = 1e-7;
  return logits / at::std(logits, at::IntArrayRef{1}, true, true).clamp_min(kLeastDeviation);
}

/// (z − mean)/(σ + 1e-7) of each row, with σ unbiased: Sun et al., CVPR 2024, arXiv 2403.01427.
inline at::Tensor standardise_logits(const at::Tensor& logits) {
  constexpr double kEpsilon = 1e-7;
  const at::Tensor centred = logits - logits.mean(1, true);
  return centred / (at::std(logits, at::IntArrayRef{1}, true, true) + kEpsilon);
}

/// What a sum over batch and classes is divided by.
enum class Reduction { kBatchMean, kMean };

/// Declares the parameter `reduction` of a loss.
template <class Params>
FieldBuilder declare_reduction(Schema<Params>& schema, Reduction Params::* member) {
  return schema.choice(
      "reduction", member, {{"batchmean", Reduction::kBatchMean}, {"mean", Reduction::kMean}},
      "sum over classes and mean over the batch, or mean over both (1/(B·C), as some repositories have it)");
}

/// The divisor of a sum over all of `logits`, N×classes.
inline double reduction_divisor(Reduction reduction, const at::Tensor& logits) {
  return static_cast<double>(reduction == Reduction::kBatchMean ? logits.size(0) : logits.numel());
}

}  // namespace kd
