// kd/temperature.h
#include "kd/temperature.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>

#include "kd/soft_targets.h"

namespace kd {

at::Tensor Softened::weighted(const at::Tensor& rows) const {
  const at::Tensor squared = temperature == 1 ? rows : rows * (temperature * temperature);
  return weights.defined() ? squared * weights : squared;
}

at::Tensor Softened::mean_divergence() const {
  if (weights.defined()) return mean(row_divergences(log_teacher(), log_student()));
  const auto rows = static_cast<double>(student.size(0));
  return soft_target_divergence(student, teacher, temperature, temperature * temperature / rows);
}

Softened soften(const LogitPair& logits, double temperature, PerSample per_sample) {
  switch (per_sample) {
    case PerSample::kNone:
      break;
    case PerSample::kStandardized:
      return {standardise_logits(logits.student), standardise_logits(logits.teacher), temperature};
    case PerSample::kConfidence: {
      // The authors' code has no bounds: without them a network that is not trained yet, whose largest logit may be
      // near 0 or below, would have a temperature that is 0 or negative.
      constexpr double kLeastShare = 0.05, kLeastSum = 1e-6;
      const at::Tensor student = logits.student.amax(1, true).clamp_min(0);
      const at::Tensor teacher = logits.teacher.amax(1, true).clamp_min(0);
      const at::Tensor share = (student / (student + teacher).clamp_min(kLeastSum)).clamp(kLeastShare, 1 - kLeastShare);
      return {logits.student / (share * 2), logits.teacher / ((1 - share) * 2), temperature,
              (share * (1 - share) * 4).squeeze(1)};
    }
  }
  return {logits.student, logits.teacher, temperature};
}

}  // namespace kd
