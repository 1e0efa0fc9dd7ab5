// Reading of image files, kd/images.h: which kind it is, and what holds for every kind.
#include <fmt/format.h>

#include <string_view>

#include "kd/diagnostics.h"
#include "sdk/image_decoders.h"

namespace kd {
namespace {

using namespace std::string_view_literals;

enum class Kind { kJpeg, kPng };

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A kind of image that people meet and that is not read, or empty.
std::string_view name_other_kind(std::string_view text) {
  if (text.starts_with("GIF8"sv)) return "GIF";
  if (text.starts_with("BM"sv)) return "BMP";
  if (text.starts_with("II*\0"sv) || text.starts_with("MM\0*"sv)) return "TIFF";
  if (text.starts_with("RIFF"sv) && text.substr(0, 12).ends_with("WEBP"sv)) return "WebP";
  return {};
}

Kind find_kind(std::span<const std::byte> bytes, const std::string& name) {
  const std::string_view text = text_of(bytes);
  if (text.starts_with("\xff\xd8\xff"sv)) return Kind::kJpeg;
  if (text.starts_with("\x89PNG\r\n\x1a\n"sv)) return Kind::kPng;
  if (text.empty()) refuse_image(name, "the file is empty");
  const std::string_view other = name_other_kind(text);
  if (!other.empty()) refuse_image(name, fmt::format("it is a {} file, and only JPEG and PNG are read", other));
  refuse_image(name, "it is no JPEG or PNG file");
}

}  // namespace

void refuse_image(const std::string& name, const std::string& reason) {
  throw FileError("cannot read the image " + name + ": " + reason);
}

void check_image_size(const ImageSize& size, const std::string& name) {
  if (size.height < 1 || size.width < 1) refuse_image(name, "it has no pixels");
  if (size.height > kMostPixels / size.width) {
    refuse_image(name, fmt::format("it would have {} by {} pixels, and {} in all are the limit", size.width,
                                   size.height, kMostPixels));
  }
}

ImageSize read_image_size(std::span<const std::byte> bytes, const std::string& name) {
  return find_kind(bytes, name) == Kind::kJpeg ? read_jpeg_size(bytes, name) : read_png_size(bytes, name);
}

at::Tensor decode_image(std::span<const std::byte> bytes, const std::string& name) {
  return find_kind(bytes, name) == Kind::kJpeg ? decode_jpeg(bytes, name) : decode_png(bytes, name);
}

}  // namespace kd
