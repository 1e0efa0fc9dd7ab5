// png.h, through libpng's simplified interface.
#include "record/png.h"

#include <fmt/format.h>
#include <png.h>

#include <string>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"

namespace kd {

void write_png(const std::filesystem::path& file, const at::Tensor& picture) {
  const at::Tensor rows = picture.permute({1, 2, 0}).to(at::kCPU).contiguous();
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.height = static_cast<png_uint_32>(rows.size(0));
  image.width = static_cast<png_uint_32>(rows.size(1));
  image.format = rows.size(2) == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(image), '\0');
  png_alloc_size_t size = bytes.size();
  if (png_image_write_to_memory(&image, bytes.data(), &size, 0, rows.const_data_ptr(), 0, nullptr) == 0)
    throw Error(fmt::format("cannot write {}: {}", file.string(), image.message));
  write_file(file, {bytes.data(), size});
}

}  // namespace kd
