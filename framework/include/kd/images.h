// Images in files: JPEG and PNG as Pillow reads them, and resizing with Pillow's bytes, so that numbers published with
// torchvision's ImageFolder can be met.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "kd/api.h"

namespace kd {

/// The most pixels (height times width) of an image that is read or made: where Pillow speaks of a decompression bomb.
constexpr std::int64_t kMostPixels = 178'956'970;

/// The size of an image without its channels.
struct ImageExtent {
  std::int64_t height = 0;
  std::int64_t width = 0;
};

/// What the header of an image file says. Channels: 1 grey, 2 grey and alpha, 3 RGB or a palette, 4 RGBA or CMYK.
struct ImageSize {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;
};

/// Reads the header of a JPEG or PNG file and decodes nothing; `bytes` may end where the pixels begin. The content says
/// which of the two it is, not the name. Throws FileError with `name` where `bytes` are of no such file, end within the
/// header, or hold no pixel or more than kMostPixels.
KD_API ImageSize read_image_size(std::span<const std::byte> bytes, const std::string& name);

/// The pixels of a JPEG or PNG file, uint8, 3×H×W: what `PIL.Image.open(name).convert("RGB")` gives. So alpha is
/// dropped and not blended, the orientation of EXIF and colour profiles are not applied, 16-bit grey above 255 is
/// white, and of other 16-bit samples the upper byte counts. Throws FileError as read_image_size does, and where the
/// data are truncated or damaged. As in Pillow, what libjpeg only warns of is no error. Unlike in Pillow, wrong
/// checksums in a PNG are one.
KD_API at::Tensor decode_image(std::span<const std::byte> bytes, const std::string& name);

/// Filters of resize_image: PIL.Image.Resampling.BILINEAR and BICUBIC, which average when they shrink, and NEAREST.
enum class Interpolation { kBilinear, kBicubic, kNearest };

/// A part of an image in pixels from its upper left corner; right and bottom are exclusive. Rounded to float as in
/// Pillow.
struct ImageBox {
  double left = 0;
  double top = 0;
  double right = 0;
  double bottom = 0;
};

/// What `PIL.Image.resize((width, height), interpolation, box)` gives, byte for byte, of an image or of a part of it.
/// Images are uint8, C×H×W on the CPU, and each channel is resized by itself. Throws Error where the image is another
/// tensor, the box is empty or not within the image, or a size is not positive or above kMostPixels.
KD_API at::Tensor resize_image(const at::Tensor& image, std::int64_t height, std::int64_t width,
                               Interpolation interpolation, const std::optional<ImageBox>& box = std::nullopt);

}  // namespace kd
