// Images that are moved by the gradient of a frozen network: towards its decision boundary (Heo et al., AAAI 2019,
// arXiv 1805.05532) and uphill in its loss with diverse inputs (DI-FGSM: Xie et al., CVPR 2019, arXiv 1803.06978).
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kd/dataset.h"
#include "kd/diagnostics.h"
#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/tensor.h"

namespace adversarial {

/// Logits of images, N×classes, with a gradient to the images.
using LogitsOf = std::function<at::Tensor(const at::Tensor&)>;

/// A number for each image, N×1, to be multiplied with images.
inline at::Tensor per_image(const at::Tensor& numbers) { return numbers.view({-1, 1, 1, 1}); }

// ---------------------------------------------------------------------------------------------------------------------
// To the boundary
// ---------------------------------------------------------------------------------------------------------------------

struct BoundarySteps {
  std::int64_t steps = 10;
  double step = 0.3;  ///< in the units of the images, for a margin of 1 between the two logits
  double clip = 2.5;  ///< images stay in [−clip, clip]; 0: they are not clipped
};

/// Moves each image along the unit gradient of z_target − z_own, by `step` times the margin that is left between the
/// two logits, until the network's answer is no longer its first one: then the image stays where it is, beside the
/// boundary. `target`: int64, N.
inline at::Tensor move_to_boundary(const LogitsOf& logits_of, const at::Tensor& start, const at::Tensor& target,
                                   const BoundarySteps& settings) {
  constexpr double kLeastMargin = 1e-4;  // of the authors' code: a step of 0 would never cross the boundary
  constexpr double kLeastNorm = 1e-12;
  at::Tensor moved = start.detach(), own;
  const at::Tensor other = target.unsqueeze(1);
  for (std::int64_t i = 0; i < settings.steps; ++i) {
    const at::Tensor images = moved.detach().requires_grad_(true);
    const at::Tensor logits = kd::precise(logits_of(images));
    const at::Tensor answer = logits.detach().argmax(1, /*keepdim=*/true);
    if (i == 0) own = answer;
    const at::Tensor margin = logits.gather(1, own) - logits.gather(1, other);
    const at::Tensor gradient = kd::gradients(-margin.sum(), {images})[0];
    const at::Tensor norm = at::linalg_vector_norm(gradient.flatten(1), 2, at::IntArrayRef{1}, /*keepdim=*/true);
    const at::Tensor length = (margin.detach() + kLeastMargin) * settings.step * (answer == own);
    moved = images.detach() + gradient * per_image(length / norm.clamp_min(kLeastNorm));
    if (settings.clip > 0) moved = moved.clamp(-settings.clip, settings.clip);
  }
  return moved;
}

/// A wrong class for each row, int64, N, in proportion to the probabilities that `logits` give them. `uniform`, N, in
/// [0, 1), says which. A label of −1 excludes no class.
inline at::Tensor draw_wrong_class(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& uniform) {
  // Without the label before the softmax, and in double, so that a sure network has other classes too.
  const at::Tensor others = kd::take_out(logits.to(at::kDouble), kd::label_mask(labels, logits.size(1)));
  const at::Tensor passed = at::softmax(others, 1).cumsum(1);
  const at::Tensor point = uniform.to(at::kDouble).unsqueeze(1) * passed.narrow(1, passed.size(1) - 1, 1);
  return (passed <= point).sum(1);
}

// ---------------------------------------------------------------------------------------------------------------------
// Uphill in the loss
// ---------------------------------------------------------------------------------------------------------------------

/// Where the pixels of a stage's images lie, in the units of the images, per channel: 1×C×1×1.
struct PixelRange {
  at::Tensor low, high;  ///< black and white
  at::Tensor span;       ///< of a pixel's whole range, 1
};

/// What normalised images are in pixels: those of `normalize`. One number of a list counts for all channels; of an
/// empty list the data set's.
inline PixelRange pixel_range(std::vector<double> mean, std::vector<double> deviation, const kd::DataInfo& data) {
  const auto channels = static_cast<std::size_t>(data.channels);
  const auto complete = [&](const std::string& name, std::vector<double>& numbers, const std::vector<double>& of_data) {
    if (numbers.empty()) numbers = of_data;
    if (numbers.size() == 1) numbers.assign(channels, numbers.front());
    if (numbers.size() == channels) return;
    std::string message = "'" + name + "' has " + std::to_string(numbers.size()) + " numbers, and the images have ";
    message += std::to_string(channels) + " channels";
    throw kd::RecipeError({{{},
                            message,
                            "give mean and deviation as 'normalize' has them; mean = [0.0] and deviation = [1.0] where "
                            "images are not normalised"}});
  };
  complete("mean", mean, data.mean);
  complete("deviation", deviation, data.deviation);
  for (const double value : deviation) {
    if (!(value > 0)) throw kd::RecipeError("every deviation must be above 0");
  }
  const auto tensor = [](const std::vector<double>& numbers) { return at::tensor(numbers).view({1, -1, 1, 1}); };
  const at::Tensor low = -tensor(mean) / tensor(deviation), span = tensor(deviation).reciprocal();
  return {low.to(at::kFloat), (low + span).to(at::kFloat), span.to(at::kFloat)};
}

inline PixelRange to_device(const PixelRange& range, const at::Device& device) {
  return {range.low.to(device), range.high.to(device), range.span.to(device)};
}

/// Where a smaller copy of an image lies in a frame of the image's size.
struct Placement {
  std::int64_t height = 0, width = 0, top = 0, left = 0;
};

/// The weights of bilinear interpolation from `size` to `smaller` points, smaller×size. As a matrix, so that its
/// gradient has the same bits every time on a GPU also.
inline at::Tensor interpolation(std::int64_t smaller, std::int64_t size, const at::TensorOptions& options) {
  const double scale = static_cast<double>(size) / static_cast<double>(smaller);
  const at::Tensor source =
      ((at::arange(smaller, options) + 0.5) * scale - 0.5).clamp(0, static_cast<double>(size - 1));
  return at::relu(1 - (source.unsqueeze(1) - at::arange(size, options)).abs());
}

/// The images smaller, with zeros around, as `placement` says: input diversity.
inline at::Tensor shrink(const at::Tensor& images, const Placement& placement) {
  const std::int64_t height = images.size(2), width = images.size(3);
  const kd::WithoutAutocast exact(images.device());
  const at::Tensor rows = interpolation(placement.height, height, images.options());
  const at::Tensor columns = interpolation(placement.width, width, images.options());
  const at::Tensor smaller = at::matmul(at::matmul(rows, images), columns.t());
  const std::int64_t right = width - placement.width - placement.left,
                     below = height - placement.height - placement.top;
  return at::constant_pad_nd(smaller, {placement.left, right, placement.top, below}, 0);
}

struct UphillSteps {
  std::int64_t steps = 5;
  double epsilon = 8.0 / 255, step = 2.0 / 255;  ///< in pixels
  double decay = 1;                              ///< of the momentum
};

/// Steps of the sign of the gradient of the cross entropy, with momentum, that stay within epsilon of the start and
/// within `range`. In step i the network sees diversify(images, i).
inline at::Tensor move_uphill(const LogitsOf& logits_of, const at::Tensor& start, const at::Tensor& labels,
                              const PixelRange& range, const UphillSteps& settings,
                              const std::function<at::Tensor(const at::Tensor&, std::int64_t)>& diversify) {
  constexpr double kLeastNorm = 1e-12;
  const at::Tensor origin = start.detach();
  const at::Tensor low = at::maximum(origin - range.span * settings.epsilon, range.low);
  const at::Tensor high = at::minimum(origin + range.span * settings.epsilon, range.high);
  at::Tensor moved = origin, momentum;
  for (std::int64_t i = 0; i < settings.steps; ++i) {
    const at::Tensor images = moved.detach().requires_grad_(true);
    const at::Tensor log_p = at::log_softmax(kd::precise(logits_of(diversify(images, i))), 1);
    // Of a sum, so that the other samples of the batch do not scale it.
    const at::Tensor loss = at::nll_loss(log_p, labels, {}, at::Reduction::Sum);
    const at::Tensor gradient = kd::gradients(loss, {images})[0];
    const at::Tensor norm = gradient.abs().flatten(1).sum(1);
    const at::Tensor scaled = gradient / per_image(norm.clamp_min(kLeastNorm));
    momentum = i == 0 ? scaled : scaled + momentum * settings.decay;
    moved = (images.detach() + momentum.sign() * range.span * settings.step).clamp(low, high);
  }
  return moved;
}

}  // namespace adversarial
