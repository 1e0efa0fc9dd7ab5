// Common corruptions (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261) that need no files: those of
// make_cifar_c.py with its constants for 32×32 images, at five severities. Ours are the random numbers, and that
// nothing is rounded to bytes. `defocus_blur`, weather, JPEG and what warps images are left out.
#pragma once

#include <ATen/ops/searchsorted.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kd/random_tensors.h"
#include "kd/tensor.h"

namespace kd::analyses {

/// What is random in a corruption: by the number of the sample, so that a batch does not count.
struct Draws {
  RandomKey key;
  at::Tensor numbers;  ///< of the samples: int64, N

  at::Tensor uniform(const at::Tensor& like) const {
    return random_uniform(key, numbers, like.numel() / like.size(0)).view_as(like);
  }
  at::Tensor normal(const at::Tensor& like) const {
    return random_normal(key, numbers, like.numel() / like.size(0)).view_as(like);
  }
};

/// For each byte, 0 to 255, what a Poisson distribution with the mean byte/255 · photons has drawn: the smallest number
/// whose distribution function is above `uniform`, which is in (0, 1).
inline at::Tensor poisson_draws(const at::Tensor& bytes, double photons, const at::Tensor& uniform) {
  const auto numbers = static_cast<std::int64_t>(photons + 8 * std::sqrt(photons) + 10);
  const auto options = bytes.options().dtype(at::kDouble);
  const at::Tensor means = at::arange(256, options).unsqueeze(1) * (photons / 255), k = at::arange(numbers, options);
  const at::Tensor below = (k.xlogy(means) - means - (k + 1).lgamma()).exp().cumsum(1).clamp_max(1);
  // All distribution functions in one increasing list: that of byte b goes from b to b + 1.
  const at::Tensor list = (below + at::arange(256, options).unsqueeze(1)).flatten();
  return at::searchsorted(list, bytes + uniform, /*out_int32=*/false, /*right=*/true) - bytes * numbers;
}

/// `rows` and `columns` mix the lines and the columns of each image.
inline at::Tensor mix(const at::Tensor& pixels, const at::Tensor& rows, const at::Tensor& columns) {
  const auto options = pixels.options().dtype(at::kDouble);
  return at::matmul(at::matmul(rows.to(options), pixels.to(at::kDouble)), columns.to(options).t()).to(pixels.options());
}

/// size×size: each row a normal distribution's weights up to 4σ, as scipy has it, and the border repeated.
inline at::Tensor blur_matrix(std::int64_t size, double sigma) {
  const auto radius = static_cast<std::int64_t>(4 * sigma + 0.5);
  at::Tensor matrix = at::zeros({size, size}, at::kDouble);
  for (std::int64_t i = 0; i < size; ++i) {
    for (std::int64_t offset = -radius; offset <= radius; ++offset) {
      const double distance = static_cast<double>(offset) / sigma;
      const std::int64_t from = std::clamp<std::int64_t>(i + offset, 0, size - 1);
      matrix.mutable_data_ptr<double>()[i * size + from] += std::exp(-0.5 * distance * distance);
    }
  }
  return matrix / matrix.sum(1, true);
}

/// to×from: each row the mean of the pixels whose centres lie in its box, as Pillow's BOX filter has it; the nearest
/// pixel where there are more of them afterwards.
inline at::Tensor box_matrix(std::int64_t from, std::int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), support = 0.5 * std::max(scale, 1.0);
  at::Tensor matrix = at::zeros({to, from}, at::kDouble);
  for (std::int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    for (std::int64_t j = 0; j < from; ++j) {
      const double distance = static_cast<double>(j) + 0.5 - centre;
      if (-support < distance && distance <= support) matrix.mutable_data_ptr<double>()[i * from + j] = 1;
    }
  }
  return matrix / matrix.sum(1, true);
}

/// There and back.
inline at::Tensor pixelate_matrix(std::int64_t size, double share) {
  const auto fewer = std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(size) * share));
  return at::matmul(box_matrix(fewer, size), box_matrix(size, fewer));
}

/// `constants` belong to the severities 1 to 5. What `apply` gives is clamped to [0, 1] afterwards.
struct Corruption {
  const char* name;
  std::array<double, 5> constants;
  at::Tensor (*apply)(const at::Tensor& pixels, double constant, const Draws& draws);
};

inline const std::array<Corruption, 8> kCorruptions{{
    {"gaussian_noise",
     {0.04, 0.06, 0.08, 0.09, 0.10},
     [](const at::Tensor& pixels, double deviation, const Draws& draws) -> at::Tensor {
       return pixels + draws.normal(pixels) * deviation;
     }},
    {"shot_noise",
     {500, 250, 100, 75, 50},
     [](const at::Tensor& pixels, double photons, const Draws& draws) -> at::Tensor {
       // Multiples of 2^-24, moved to the middles of their cells: none is 0.
       const at::Tensor uniform = draws.uniform(pixels).to(at::kDouble) + 0x1p-25;
       const at::Tensor bytes = (pixels * 255).round().to(at::kLong);
       return (poisson_draws(bytes, photons, uniform).to(at::kDouble) / photons).to(pixels.scalar_type());
     }},
    {"impulse_noise",
     {0.01, 0.02, 0.03, 0.05, 0.07},
     [](const at::Tensor& pixels, double share, const Draws& draws) -> at::Tensor {
       const at::Tensor uniform = draws.uniform(pixels);
       return pixels.masked_fill(uniform.lt(share), 1).masked_fill(uniform.lt(share / 2), 0);
     }},
    {"speckle_noise",
     {0.06, 0.10, 0.12, 0.16, 0.20},
     [](const at::Tensor& pixels, double deviation, const Draws& draws) -> at::Tensor {
       return pixels + pixels * draws.normal(pixels) * deviation;
     }},
    {"gaussian_blur",
     {0.4, 0.6, 0.7, 0.8, 1.0},
     [](const at::Tensor& pixels, double sigma, const Draws&) -> at::Tensor {
       return mix(pixels, blur_matrix(pixels.size(2), sigma), blur_matrix(pixels.size(3), sigma));
     }},
    {"brightness",
     {0.05, 0.10, 0.15, 0.20, 0.30},
     // More of HSV's value: hue and saturation stay, so that the channels keep their ratios.
     [](const at::Tensor& pixels, double more, const Draws&) -> at::Tensor {
       const at::Tensor value = pixels.amax(1, true), brighter = (value + more).clamp_max(1);
       return at::where(value.gt(0), pixels * (brighter / value), brighter);
     }},
    {"contrast",
     {0.75, 0.50, 0.40, 0.30, 0.15},
     [](const at::Tensor& pixels, double share, const Draws&) -> at::Tensor {
       const at::Tensor mean = pixels.mean({2, 3}, true);
       return (pixels - mean) * share + mean;
     }},
    {"pixelate",
     {0.95, 0.90, 0.85, 0.75, 0.65},
     [](const at::Tensor& pixels, double share, const Draws&) -> at::Tensor {
       return mix(pixels, pixelate_matrix(pixels.size(2), share), pixelate_matrix(pixels.size(3), share));
     }},
}};

inline std::vector<std::string> corruption_names() {
  std::vector<std::string> names;
  for (const Corruption& corruption : kCorruptions) names.emplace_back(corruption.name);
  return names;
}

/// `severity` is 1 to 5; `first` is the number of the first sample.
inline at::Tensor corrupt(const Corruption& corruption, const at::Tensor& pixels, std::int64_t severity, RandomKey key,
                          std::int64_t first) {
  const Draws draws{key.with(corruption.name).with(static_cast<std::uint64_t>(severity)),
                    at::arange(first, first + pixels.size(0), pixels.options().dtype(at::kLong))};
  return corruption.apply(pixels, corruption.constants.at(static_cast<std::size_t>(severity - 1)), draws).clamp(0, 1);
}

}  // namespace kd::analyses
