// JPEG files through libjpeg, with the settings that Pillow has: slow integer DCT, fancy upsampling, warnings pass.
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <jpeglib.h>

#include <algorithm>
#include <cstdio>  // jpeglib.h needs it before
#include <vector>

#include "sdk/image_decoders.h"

namespace kd {
namespace {

using Byte = std::uint8_t;

/// 255 ink is none, as Adobe writes CMYK and Pillow takes every CMYK file. Rounds as Pillow does.
Byte mix_ink(int colour, int black) {
  const int product = (255 - colour) * black + 128;
  return static_cast<Byte>(std::max(0, black - (((product >> 8) + product) >> 8)));
}

/// One decompression. libjpeg calls the functions below as C, and jumps to `escape_` on an error.
class JpegReader {
 public:
  JpegReader(std::span<const std::byte> bytes, const std::string& name) : name_(name) {
    info_.err = jpeg_std_error(&errors_);
    info_.client_data = &escape_;
    errors_.error_exit = leave;
    errors_.output_message = ignore_message;
    source_.init_source = source_.term_source = [](j_decompress_ptr) {};
    source_.fill_input_buffer = [](j_decompress_ptr) -> boolean { return FALSE; };
    source_.skip_input_data = skip;
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
    source_.bytes_in_buffer = bytes.size();
    call([&] { jpeg_create_decompress(&info_); });
    info_.src = &source_;
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info_); }

  ImageSize read_header() {
    int found = JPEG_SUSPENDED;
    // Tables may stand in a stream of their own before that of the image.
    call([&] {
      do found = jpeg_read_header(&info_, FALSE);
      while (found == JPEG_HEADER_TABLES_ONLY);
    });
    if (found == JPEG_SUSPENDED) refuse_truncated();
    if (info_.data_precision != 8) {
      refuse_image(name_, fmt::format("it is a JPEG of {} bits, and only 8 are read", info_.data_precision));
    }
    const int channels = info_.num_components;
    if (channels != 1 && channels != 3 && channels != 4) {
      refuse_image(name_, fmt::format("it is a JPEG of {} channels, and only 1, 3 and 4 are read", channels));
    }
    const ImageSize size{info_.image_height, info_.image_width, channels};
    check_image_size(size, name_);
    return size;
  }

  void start() {
    info_.out_color_space =
        info_.num_components == 1 ? JCS_GRAYSCALE : (info_.num_components == 3 ? JCS_RGB : JCS_CMYK);
    info_.dct_method = JDCT_ISLOW;
    info_.do_fancy_upsampling = TRUE;
    boolean started = FALSE;
    call([&] { started = jpeg_start_decompress(&info_); });
    if (started == FALSE) refuse_truncated();
  }

  /// `row` has as many bytes as the image has channels times columns.
  void read_row(Byte* row) {
    JDIMENSION count = 0;
    call([&] { count = jpeg_read_scanlines(&info_, &row, 1); });
    if (count == 0) refuse_truncated();
  }

  /// Reads to the end of the image, which may lack: Pillow takes such a file, but not one with garbage there.
  void finish() {
    call([&] { jpeg_finish_decompress(&info_); });
  }

 private:
  template <class F>
  void call(const F& f) {
    if (!call_with_escape(escape_, f)) refuse_image(name_, std::string("libjpeg says: ") + escape_.message.data());
  }

  [[noreturn]] void refuse_truncated() const { refuse_image(name_, "it is a JPEG file that is truncated"); }

  [[noreturn]] static void leave(j_common_ptr info) {
    auto& escape = *static_cast<Escape*>(info->client_data);
    static_assert(std::tuple_size_v<decltype(escape.message)> >= JMSG_LENGTH_MAX);
    info->err->format_message(info, escape.message.data());
    std::longjmp(escape.jump, 1);
  }

  static void ignore_message(j_common_ptr) {}

  /// To the end at most, where libjpeg asks for more and is told that there is none.
  static void skip(j_decompress_ptr info, long count) {
    const std::size_t step = std::min(static_cast<std::size_t>(std::max(count, 0L)), info->src->bytes_in_buffer);
    info->src->next_input_byte += step;
    info->src->bytes_in_buffer -= step;
  }

  std::string name_;
  Escape escape_;
  jpeg_error_mgr errors_{};
  jpeg_source_mgr source_{};
  jpeg_decompress_struct info_{};
};

/// Writes a row of `width` pixels to the same row of three planes, which lie `plane` bytes apart.
void split_row(const Byte* row, std::int64_t width, std::int64_t channels, Byte* red, std::int64_t plane) {
  Byte* green = red + plane;
  Byte* blue = green + plane;
  if (channels == 1) {
    for (Byte* to : {red, green, blue}) std::copy_n(row, width, to);
    return;
  }
  for (std::int64_t x = 0; x < width; ++x, row += channels) {
    red[x] = channels == 3 ? row[0] : mix_ink(row[0], row[3]);
    green[x] = channels == 3 ? row[1] : mix_ink(row[1], row[3]);
    blue[x] = channels == 3 ? row[2] : mix_ink(row[2], row[3]);
  }
}

}  // namespace

ImageSize read_jpeg_size(std::span<const std::byte> bytes, const std::string& name) {
  return JpegReader(bytes, name).read_header();
}

at::Tensor decode_jpeg(std::span<const std::byte> bytes, const std::string& name) {
  JpegReader reader(bytes, name);
  const ImageSize size = reader.read_header();
  reader.start();
  at::Tensor image = at::empty({3, size.height, size.width}, at::kByte);
  Byte* out = image.mutable_data_ptr<Byte>();
  std::vector<Byte> row(static_cast<std::size_t>(size.width * size.channels));
  for (std::int64_t y = 0; y < size.height; ++y) {
    reader.read_row(row.data());
    split_row(row.data(), size.width, size.channels, out + y * size.width, size.height * size.width);
  }
  reader.finish();
  return image;
}

}  // namespace kd
