// The view of an image that evaluation takes: its shorter side resized, and the centre cut out. Sizes and places are
// those of torchvision's Resize and CenterCrop.
#pragma once

#include <cmath>
#include <cstdint>

#include "kd/images.h"
#include "kd/schema.h"

namespace center {

/// Declares the filter of a resizing.
template <class P>
void declare_interpolation(kd::Schema<P>& s) {
  s.choice("interpolation", &P::interpolation,
           {{"bilinear", kd::Interpolation::kBilinear},
            {"bicubic", kd::Interpolation::kBicubic},
            {"nearest", kd::Interpolation::kNearest}},
           "filter, which averages where it shrinks, as Pillow's does")
      .def("bilinear");
}

/// A part of an image, C×height×width, from the given corner.
inline at::Tensor cut(const at::Tensor& image, std::int64_t top, std::int64_t left, kd::ImageExtent extent) {
  return image.narrow(1, top, extent.height).narrow(2, left, extent.width).contiguous();
}

/// Where a part lies in the middle of a side.
inline std::int64_t middle(std::int64_t side, std::int64_t part) {
  return std::lrint(static_cast<double>(side - part) / 2);
}

/// The shorter side becomes `shorter` pixels, the other as long as its ratio says; then the middle of crop×crop pixels
/// is cut out. `crop` is at most `shorter`.
inline at::Tensor view(const at::Tensor& image, std::int64_t shorter, std::int64_t crop,
                       kd::Interpolation interpolation) {
  const std::int64_t height = image.size(1);
  const std::int64_t width = image.size(2);
  const auto longer = [&](std::int64_t long_side, std::int64_t short_side) {
    return static_cast<std::int64_t>(static_cast<double>(shorter * long_side) / static_cast<double>(short_side));
  };
  const kd::ImageExtent sized = height <= width ? kd::ImageExtent{shorter, longer(width, height)}
                                                : kd::ImageExtent{longer(height, width), shorter};
  const at::Tensor resized = kd::resize_image(image, sized.height, sized.width, interpolation);
  return cut(resized, middle(sized.height, crop), middle(sized.width, crop), {crop, crop});
}

}  // namespace center
