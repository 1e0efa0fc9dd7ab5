// Divergences of two softmaxes taken apart at the label: shared by the losses "dkd" and "sdd".
#pragma once

#include <ATen/ops/logsumexp.h>

#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/temperature.h"

namespace decoupled {

/// One softmax, taken apart at the labels.
struct Parts {
  at::Tensor log_label;   ///< ln p(label), N
  at::Tensor log_others;  ///< ln (1 − p(label)), N
  at::Tensor log_other;   ///< log-softmax over the classes that are not the label's, N×classes
};

inline Parts take_apart(const at::Tensor& scaled, const at::Tensor& labels, const at::Tensor& mask) {
  const at::Tensor log_p = at::log_softmax(scaled, 1);
  return {.log_label = kd::at_label(log_p, labels),
          .log_others = at::logsumexp(kd::take_out(log_p, mask), 1),
          .log_other = kd::other_log_softmax(scaled, mask)};
}

/// T² · (alpha · KL of (q(label), 1 − q(label)) and (p(label), 1 − p(label)) + beta · KL over the other classes), of
/// each row. Everything is a log-softmax, finite where logits are saturated.
inline at::Tensor row_divergences(const kd::Softened& z, const at::Tensor& labels, double alpha, double beta) {
  const at::Tensor mask = kd::label_mask(labels, z.student.size(1));
  const Parts p = take_apart(z.student / z.temperature, labels, mask);
  const Parts q = take_apart(z.teacher / z.temperature, labels, mask);
  const at::Tensor target =
      q.log_label.exp() * (q.log_label - p.log_label) + q.log_others.exp() * (q.log_others - p.log_others);
  return z.weighted(target * alpha + kd::row_divergences(q.log_other, p.log_other) * beta);
}

}  // namespace decoupled
