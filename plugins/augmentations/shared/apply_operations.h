// The operations of image_operations.h, the quickest way for the device.
#pragma once

#include <string>

#include "image_operations_by_image.h"
#include "image_operations_by_tensor.h"
#include "kd/batch.h"

namespace image_operations {

/// Pixels that are taken from outside an image become `fill`. `images` are bytes (require_bytes).
inline at::Tensor apply_operations(const at::Tensor& images, const Choice& choice, Interpolation interpolation,
                                   std::int64_t fill) {
  const auto byte = static_cast<std::uint8_t>(fill);
  return images.is_cpu() ? apply_by_image(images, choice, interpolation, byte)
                         : apply_by_tensor(images, choice, interpolation, byte);
}

/// Changes all images of a batch.
inline void change_batch(kd::Batch& batch, const Choice& choice, Interpolation interpolation, std::int64_t fill,
                         const std::string& augmentation) {
  batch.change_images([&](const at::Tensor& images) {
    require_bytes(images, augmentation);
    return apply_operations(images, choice, interpolation, fill);
  });
}

}  // namespace image_operations
