// For tests of attacks: a network that a plain PyTorch script writes down in two lines, and numbers to begin from.
#pragma once

#include <cstdint>

#include "kd/tensor.h"

namespace kd::testing {

/// sin(a·k + b·k² + c) of the number k of each element.
inline at::Tensor wave(std::int64_t count, double a, double b, double c) {
  const at::Tensor k = at::arange(count, at::TensorOptions().dtype(at::kDouble));
  return (k * a + k * k * b + c).sin().to(at::kFloat);
}

/// Logits of four classes; images of 32 numbers.
inline at::Tensor two_layers(const at::Tensor& images) {
  const at::Tensor first = wave(32 * 7, 0.61, 0.013, 0).view({32, 7}).to(images.device());
  const at::Tensor second = wave(7 * 4, 1.37, 0.029, 0.5).view({7, 4}).to(images.device());
  return at::matmul(at::matmul(images.flatten(1), first).mul(0.4).tanh(), second) * 2;
}

/// Images of 2×4×4 to begin an attack from.
inline at::Tensor start_images(std::int64_t count) {
  return wave(32 * count, 0.23, 0.0071, 0.3).view({count, 2, 4, 4});
}

}  // namespace kd::testing
