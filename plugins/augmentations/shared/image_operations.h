// The operations of AutoAugment and its followers on batches of uint8 images, each sample with operations and
// magnitudes of its own, with the results of PIL bit for bit: a loop over the images on the CPU, tensor operations
// elsewhere.
//
// Cubuk et al., "AutoAugment", arXiv 1805.09501, Table 6, on Pillow's ImageOps, ImageEnhance, Image.transform (affine)
// and Image.rotate.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <bitset>
#include <cstdint>
#include <initializer_list>
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

/// Some of the operations.
class OperationSet {
 public:
  OperationSet(std::initializer_list<Operation> members) {
    for (const Operation member : members) add(member);
  }
  static OperationSet all() {
    OperationSet set{};
    set.members_.set();
    return set;
  }

  void add(Operation operation) { members_.set(static_cast<std::size_t>(operation)); }
  bool has(Operation operation) const { return members_.test(static_cast<std::size_t>(operation)); }
  bool has_any(bool (*kind)(Operation)) const {
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (members_.test(i) && kind(static_cast<Operation>(i))) return true;
    }
    return false;
  }

 private:
  std::bitset<static_cast<std::size_t>(Operation::kInvert) + 1> members_;
};

/// What is done to each sample of a batch, one step after another.
struct Choice {
  at::Tensor operation;  ///< int64, N×steps
  at::Tensor magnitude;  ///< double, N×steps
  /// All that `operation` may hold, known without asking the device; what no sample can want is not computed.
  OperationSet possible = OperationSet::all();

  std::int64_t steps() const { return operation.size(1); }
  at::Tensor is(Operation one) const { return operation.eq(static_cast<std::int64_t>(one)); }
  /// That of the samples from `first` on.
  Choice of(std::int64_t first, std::int64_t count) const {
    return {operation.narrow(0, first, count), magnitude.narrow(0, first, count), possible};
  }
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

/// Cosines or sines as Image.rotate rounds them. At 30°, 45° and the like their last bit, which differs between
/// libraries, can decide on a pixel of a bilinear rotation. By a tensor, since CUDA multiplies by the inverse of a
/// number.
inline at::Tensor rounded(const at::Tensor& ratios) {
  return (ratios * 1e15).round() / at::full({}, 1e15, ratios.options());
}

/// Where the pixel (x, y) of the result is taken from: (m0·x + m1·y + m2, m3·x + m4·y + m5); double, N×steps×6. The
/// identity for operations that move nothing.
inline at::Tensor affine_matrices(const Choice& choice, std::int64_t height, std::int64_t width) {
  constexpr auto kFirst = static_cast<std::int64_t>(Operation::kShearX);
  const at::Tensor moves =
      at::arange(kFirst, static_cast<std::int64_t>(Operation::kRotate) + 1, choice.operation.options());
  const at::Tensor amounts =
      at::where(choice.operation.unsqueeze(2).eq(moves), choice.magnitude.unsqueeze(2), 0.0);  // of one, others 0
  const auto amount = [&](Operation operation) {
    return amounts.select(2, static_cast<std::int64_t>(operation) - kFirst);
  };
  const at::Tensor radians = amount(Operation::kRotate).remainder(360) * (-std::numbers::pi / 180);
  const at::Tensor ratios = rounded(at::stack({radians.cos(), radians.sin()}));
  const at::Tensor cosine = ratios.select(0, 0), sine = ratios.select(0, 1);
  const double middle_x = static_cast<double>(width) / 2, middle_y = static_cast<double>(height) / 2;
  const at::Tensor right = cosine * -middle_x + sine * -middle_y + middle_x;
  const at::Tensor down = sine * middle_x + cosine * -middle_y + middle_y;
  return at::stack({cosine, sine + amount(Operation::kShearX), right + amount(Operation::kTranslateX),
                    amount(Operation::kShearY) - sine, cosine, down + amount(Operation::kTranslateY)},
                   2);
}

/// Fixed-point coordinates of Pillow's nearest resampling.
inline constexpr double kFixedOne = 65536;
inline constexpr int kFixedBits = 16;

}  // namespace image_operations
