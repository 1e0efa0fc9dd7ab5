// Adversarial images in a ball of the largest norm, in pixels: FGSM (Goodfellow, Shlens and Szegedy, ICLR 2015, arXiv
// 1412.6572) and PGD (Madry et al., ICLR 2018, arXiv 1706.06083).
#pragma once

#include <cstdint>

#include "kd/analysis.h"
#include "kd/features.h"
#include "kd/random_tensors.h"
#include "kd/tensor.h"

namespace kd::analyses {

/// Pixels in [0, 1] and their labels, on the device of the network that is attacked.
struct Samples {
  at::Tensor pixels, labels;
};

/// The sign of the gradient of the cross entropy by each pixel. Of a sum, so that the other samples of the batch do not
/// scale it.
inline at::Tensor ascent(TrainedModel& network, const at::Tensor& pixels, const at::Tensor& labels) {
  const at::Tensor images = pixels.detach().requires_grad_(true);
  const Outputs outputs = network.forward(network.seen(images), {}, Gradient::kToImages);
  const at::Tensor loss = at::nll_loss(at::log_softmax(precise(outputs.logits), 1), labels, {}, at::Reduction::Sum);
  return gradients(loss, {images})[0].sign();
}

/// One step of ε.
inline at::Tensor fgsm(TrainedModel& network, const Samples& samples, double epsilon) {
  return (samples.pixels + ascent(network, samples.pixels, samples.labels) * epsilon).clamp(0, 1);
}

struct PgdSettings {
  std::int64_t steps = 10;
  double step_size = 0;      ///< in pixels
  bool random_start = true;  ///< begins at a uniform point of the ball, by the key and the number of the sample
};

/// Steps that are brought back into the ball and into [0, 1]. `first` is the number of the first sample.
inline at::Tensor pgd(TrainedModel& network, const Samples& samples, double epsilon, const PgdSettings& settings,
                      RandomKey key, std::int64_t first) {
  const at::Tensor low = (samples.pixels - epsilon).clamp_min(0), high = (samples.pixels + epsilon).clamp_max(1);
  at::Tensor moved = samples.pixels;
  if (settings.random_start) {
    const std::int64_t count = moved.size(0);
    const at::Tensor numbers = at::arange(first, first + count, samples.labels.options());
    const at::Tensor draws = random_uniform(key, numbers, moved.numel() / count).view_as(moved);
    moved = (moved + (draws * 2 - 1) * epsilon).clamp(low, high);
  }
  for (std::int64_t i = 0; i < settings.steps; ++i)
    moved = (moved + ascent(network, moved, samples.labels) * settings.step_size).clamp(low, high);
  return moved;
}

}  // namespace kd::analyses
