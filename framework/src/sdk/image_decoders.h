// The decoders behind kd/images.h, one for each kind of file, and what they share.
#pragma once

#include <array>
#include <csetjmp>

#include "kd/images.h"

namespace kd {

/// Where a C library goes on with an error, and what it says. Only functions whose objects need no destructors may lie
/// between.
struct Escape {
  std::jmp_buf jump;
  std::array<char, 256> message{};
};

/// Calls `f`, which calls a C library. False where that jumped to `escape`. Never inlined, since it calls setjmp: so
/// the objects that `f` refers to are in memory, and valid after a jump.
template <class F>
[[gnu::noinline]] bool call_with_escape(Escape& escape, const F& f) {
  if (setjmp(escape.jump) != 0) return false;
  f();
  return true;
}

/// Throws the FileError that image `name` cannot be read.
[[noreturn]] void refuse_image(const std::string& name, const std::string& reason);
/// Refuses an image without pixels, or with more than kMostPixels.
void check_image_size(const ImageSize& size, const std::string& name);

ImageSize read_jpeg_size(std::span<const std::byte> bytes, const std::string& name);
at::Tensor decode_jpeg(std::span<const std::byte> bytes, const std::string& name);

ImageSize read_png_size(std::span<const std::byte> bytes, const std::string& name);
at::Tensor decode_png(std::span<const std::byte> bytes, const std::string& name);

}  // namespace kd
