// PNG files through libpng, to the RGB that Pillow makes of each of their kinds.
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "sdk/image_decoders.h"

namespace kd {
namespace {

using Byte = std::uint8_t;
using Palette = std::array<png_color, 256>;

/// One file. libpng calls the functions below as C, and jumps to `escape_` on an error.
class PngReader {
 public:
  PngReader(std::span<const std::byte> bytes, const std::string& name)
      : name_(name), rest_(bytes), size_(bytes.size()) {
    // Each returns null on an error; warnings are of no matter.
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &escape_, leave, [](png_structp, png_const_charp) {});
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      refuse_image(name_, "libpng cannot start");
    }
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  ImageSize read_header() {
    call([&] {
      png_set_read_fn(png_, this, read);
      png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // check_image_size has its own
      // Profiles, texts and the like change no pixel here, so that damage in them is of no matter.
      png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
      png_read_info(png_, info_);
    });
    const ImageSize size{png_get_image_height(png_, info_), png_get_image_width(png_, info_),
                         has_palette() ? 3 : png_get_channels(png_, info_)};
    check_image_size(size, name_);
    return size;
  }

  bool has_palette() const { return png_get_color_type(png_, info_) == PNG_COLOR_TYPE_PALETTE; }

  /// Lets rows come as bytes, but 16-bit grey as it is. Returns how often the rows come.
  int start() {
    check_promise();
    int passes = 0;
    call([&] {
      const bool grey = png_get_color_type(png_, info_) == PNG_COLOR_TYPE_GRAY;
      if (grey && png_get_bit_depth(png_, info_) < 8) png_set_expand_gray_1_2_4_to_8(png_);
      if (!grey) png_set_strip_16(png_);
      png_set_packing(png_);
      png_set_check_for_invalid_index(png_, 0);
      passes = png_set_interlace_handling(png_);
      png_read_update_info(png_, info_);
    });
    return passes;
  }

  std::size_t row_bytes() const { return png_get_rowbytes(png_, info_); }
  std::int64_t channels() const { return png_get_channels(png_, info_); }
  bool is_wide() const { return png_get_bit_depth(png_, info_) == 16; }

  /// Black where the file has no entry, as in Pillow.
  Palette palette() {
    Palette palette{};
    png_colorp entries = nullptr;
    int count = 0;
    if (png_get_PLTE(png_, info_, &entries, &count) != 0)
      std::copy_n(entries, std::clamp(count, 0, 256), palette.begin());
    return palette;
  }

  void read_row(Byte* row) {
    call([&] { png_read_row(png_, row, nullptr); });
  }

 private:
  template <class F>
  void call(const F& f) {
    if (call_with_escape(escape_, f)) return;
    if (truncated_) refuse_image(name_, "it is a PNG file that is truncated");
    refuse_image(name_, std::string("libpng says: ") + escape_.message.data());
  }

  /// Refuses a few bytes that promise many pixels before memory is taken for these: deflate makes at most 1032 bytes
  /// of one.
  void check_promise() const {
    const std::uint64_t bits = std::uint64_t{png_get_bit_depth(png_, info_)} * png_get_channels(png_, info_) *
                               png_get_image_height(png_, info_) * png_get_image_width(png_, info_);
    if (bits / 8 > 1032 * std::uint64_t{size_}) {
      refuse_image(name_, fmt::format("it is a PNG file of {} bytes, too few for its {} by {} pixels", size_,
                                      png_get_image_width(png_, info_), png_get_image_height(png_, info_)));
    }
  }

  [[noreturn]] static void leave(png_structp png, png_const_charp message) {
    auto& escape = *static_cast<Escape*>(png_get_error_ptr(png));
    std::strncpy(escape.message.data(), message, escape.message.size() - 1);
    std::longjmp(escape.jump, 1);
  }

  static void read(png_structp png, png_bytep to, std::size_t count) {
    auto& self = *static_cast<PngReader*>(png_get_io_ptr(png));
    if (count > self.rest_.size()) {
      self.truncated_ = true;
      png_error(png, "truncated");
    }
    std::memcpy(to, self.rest_.data(), count);
    self.rest_ = self.rest_.subspan(count);
  }

  std::string name_;
  std::span<const std::byte> rest_;
  std::size_t size_;
  bool truncated_ = false;
  Escape escape_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

/// What rows hold once libpng is done with them, and where they go.
struct RowFormat {
  std::int64_t width = 0;
  std::int64_t channels = 0;
  bool is_wide = false;
  bool has_palette = false;
  Palette palette{};
};

/// Writes a row to the same row of three planes, which lie `plane` bytes apart.
void split_row(const Byte* row, const RowFormat& format, Byte* red, std::int64_t plane) {
  Byte* green = red + plane;
  Byte* blue = green + plane;
  for (std::int64_t x = 0; x < format.width; ++x) {
    if (format.has_palette) {
      const png_color& colour = format.palette[row[x]];
      red[x] = colour.red, green[x] = colour.green, blue[x] = colour.blue;
    } else if (format.is_wide) {  // Pillow takes 16-bit grey for numbers, and what exceeds a byte is white
      red[x] = green[x] = blue[x] = row[2 * x] == 0 ? row[2 * x + 1] : Byte{255};
    } else if (format.channels < 3) {
      red[x] = green[x] = blue[x] = row[format.channels * x];
    } else {
      const Byte* pixel = row + format.channels * x;
      red[x] = pixel[0], green[x] = pixel[1], blue[x] = pixel[2];
    }
  }
}

}  // namespace

ImageSize read_png_size(std::span<const std::byte> bytes, const std::string& name) {
  return PngReader(bytes, name).read_header();
}

at::Tensor decode_png(std::span<const std::byte> bytes, const std::string& name) {
  PngReader reader(bytes, name);
  const ImageSize size = reader.read_header();
  const int passes = reader.start();
  RowFormat format{.width = size.width,
                   .channels = reader.channels(),
                   .is_wide = reader.is_wide(),
                   .has_palette = reader.has_palette()};
  if (format.has_palette) format.palette = reader.palette();
  at::Tensor image = at::empty({3, size.height, size.width}, at::kByte);
  Byte* out = image.mutable_data_ptr<Byte>();
  // An interlaced file adds to every row with each pass; else one row is enough.
  const std::int64_t kept_rows = passes > 1 ? size.height : 1;
  const std::size_t row_bytes = reader.row_bytes();
  std::vector<Byte> rows(row_bytes * static_cast<std::size_t>(kept_rows));
  for (int pass = 1; pass <= passes; ++pass) {
    for (std::int64_t y = 0; y < size.height; ++y) {
      Byte* row = rows.data() + row_bytes * static_cast<std::size_t>(y % kept_rows);
      reader.read_row(row);
      if (pass == passes) split_row(row, format, out + y * size.width, size.height * size.width);
    }
  }
  return image;
}

}  // namespace kd
