// kd/picture.h, through libpng's simplified interface.
#include "kd/picture.h"

#include <fmt/format.h>
#include <png.h>

#include "kd/diagnostics.h"

namespace kd {

std::string encode_png(const at::Tensor& picture) {
  if (picture.dim() != 3 || picture.scalar_type() != at::kByte || (picture.size(0) != 1 && picture.size(0) != 3))
    throw Error("a picture is uint8, one channel or three by height by width");
  const at::Tensor rows = picture.permute({1, 2, 0}).to(at::kCPU).contiguous();
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.height = static_cast<png_uint_32>(rows.size(0));
  image.width = static_cast<png_uint_32>(rows.size(1));
  image.format = rows.size(2) == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(image), '\0');
  png_alloc_size_t size = bytes.size();
  if (png_image_write_to_memory(&image, bytes.data(), &size, 0, rows.const_data_ptr(), 0, nullptr) == 0)
    throw Error(fmt::format("cannot make a PNG of a picture of {}x{}: {}", image.width, image.height, image.message));
  bytes.resize(size);
  return bytes;
}

}  // namespace kd
