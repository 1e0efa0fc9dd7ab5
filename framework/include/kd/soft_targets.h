// KL(q‖p) of softmaxes at a temperature, the loss of Hinton et al., arXiv 1503.02531.
#pragma once

#include <ATen/core/Tensor.h>

#include "kd/api.h"

namespace kd {

/// factor · Σ KL(q‖p) over all rows, with q of the teacher, which gets no gradient, and p of the student.
KD_API at::Tensor soft_target_divergence(const at::Tensor& student, const at::Tensor& teacher, double temperature,
                                         double factor);

/// factor · Σ H(q, p) over all rows: larger by the teacher's entropy, with the same gradient.
KD_API at::Tensor soft_target_cross_entropy(const at::Tensor& student, const at::Tensor& teacher, double temperature,
                                            double factor);

}  // namespace kd
