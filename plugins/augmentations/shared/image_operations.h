// The operations of AutoAugment and its followers on batches of uint8 images, one operation and one magnitude per
// sample, with the results of PIL bit for bit: a loop over the images on the CPU, tensor operations elsewhere.
//
// Cubuk et al., "AutoAugment", arXiv 1805.09501, Table 6, on Pillow's ImageOps, ImageEnhance, Image.transform (affine)
// and Image.rotate.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <array>
#include <cstdint>
#include <numbers>
#include <string>

#include "kd/diagnostics.h"

namespace image_operations {

/// With what a magnitude means. Shears and translations say where a pixel is taken from.
enum class Operation : std::int64_t {
  kIdentity,
  kShearX,      ///< columns per row, about the top left corner
  kShearY,      ///< rows per column, about the top left corner
  kTranslateX,  ///< pixels
  kTranslateY,  ///< pixels
  kRotate,      ///< degrees, counter-clockwise, about the middle
  kBrightness,  ///< factor; 0 is black
  kColor,       ///< factor; 0 is grey
  kContrast,    ///< factor; 0 is the mean grey everywhere
  kSharpness,   ///< factor; 0 is smoothed
  kPosterize,   ///< bits that are kept
  kSolarize,    ///< the least value that is inverted
  kAutocontrast,
  kEqualize,
  kInvert,
};

enum class Interpolation { kNearest, kBilinear };

/// What is done to each sample of a batch.
struct Choice {
  at::Tensor operation;  ///< int64, N
  at::Tensor magnitude;  ///< double, N

  at::Tensor is(Operation one) const { return operation.eq(static_cast<std::int64_t>(one)); }
};

inline bool is_geometric(Operation operation) {
  return operation >= Operation::kShearX && operation <= Operation::kRotate;
}
inline bool is_blend(Operation operation) {
  return operation >= Operation::kBrightness && operation <= Operation::kSharpness;
}
inline bool is_lookup(Operation operation) { return operation >= Operation::kPosterize; }

/// Throws unless `images` are bytes of one or three channels.
inline void require_bytes(const at::Tensor& images, const std::string& augmentation) {
  if (images.scalar_type() != at::kByte) {
    throw kd::Error(augmentation + " works on images as stored (uint8), and these are floats already; put it before " +
                    "'normalize', 'mixup' and other augmentations that make floats");
  }
  if (images.size(1) != 1 && images.size(1) != 3) {
    throw kd::Error(augmentation + " works on images of 1 or 3 channels, and these have " +
                    std::to_string(images.size(1)));
  }
}

/// Cosine or sine as Image.rotate rounds them. At 30°, 45° and the like their last bit, which differs between
/// libraries, can decide on a pixel of a bilinear rotation.
inline at::Tensor rounded(const at::Tensor& ratio) { return (ratio * 1e15).round() / 1e15; }

/// Where the pixel (x, y) of the result is taken from: (m0·x + m1·y + m2, m3·x + m4·y + m5); double, N×6. The identity
/// for operations that move nothing.
inline at::Tensor affine_matrices(const Choice& choice, std::int64_t height, std::int64_t width) {
  const at::Tensor& magnitude = choice.magnitude;
  const at::Tensor none = magnitude * 0;
  const at::Tensor one = none + 1;
  const at::Tensor radians = -(magnitude.remainder(360) * (std::numbers::pi / 180));
  const at::Tensor rotates = choice.is(Operation::kRotate);
  const at::Tensor cosine = at::where(rotates, rounded(radians.cos()), one);
  const at::Tensor sine = at::where(rotates, rounded(radians.sin()), none);
  const double middle_x = static_cast<double>(width) / 2, middle_y = static_cast<double>(height) / 2;
  const at::Tensor right = cosine * -middle_x + sine * -middle_y + middle_x;
  const at::Tensor down = sine * middle_x + cosine * -middle_y + middle_y;
  const auto amount = [&](Operation operation) { return at::where(choice.is(operation), magnitude, none); };
  return at::stack({cosine, sine + amount(Operation::kShearX), right + amount(Operation::kTranslateX),
                    amount(Operation::kShearY) - sine, cosine, down + amount(Operation::kTranslateY)},
                   1);
}

/// Fixed-point coordinates of Pillow's nearest resampling.
inline constexpr double kFixedOne = 65536;
inline constexpr int kFixedBits = 16;

}  // namespace image_operations
