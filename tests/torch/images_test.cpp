// Tests of the reading and resizing of images: the bytes that Pillow gives (testdata/images/make.py), and damaged
// files.
#include "kd/images.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>

#include "files/digest.h"
#include "kd/dataset.h"
#include "kd/diagnostics.h"

namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes read_file(const std::string& name) { return kd::read_data_file(std::string(KD_IMAGES) + "/" + name, "make it"); }

at::Tensor decode(const Bytes& bytes) { return kd::decode_image(std::as_bytes(std::span(bytes)), "cat.jpg"); }
kd::ImageSize read_size(const Bytes& bytes) { return kd::read_image_size(std::as_bytes(std::span(bytes)), "cat.jpg"); }

std::string digest_of(const at::Tensor& image) {
  EXPECT_TRUE(image.is_contiguous());
  return kd::Digest().add(image.const_data_ptr<std::uint8_t>(), static_cast<std::size_t>(image.numel())).hex();
}

/// Lines of expected.txt that begin with `kind`, without it.
std::vector<std::string> expected_lines(const std::string& kind) {
  std::vector<std::string> lines;
  std::ifstream stream(std::string(KD_IMAGES) + "/expected.txt");
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with(kind + " ")) lines.push_back(line.substr(kind.size() + 1));
  }
  EXPECT_FALSE(lines.empty());
  return lines;
}

std::vector<std::string> image_names() {
  std::vector<std::string> names = expected_lines("decode");
  for (std::string& name : names) name.resize(name.find(' '));
  return names;
}

/// What an error says that f() throws, or "" where it throws none.
std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const kd::Error& error) {
    return error.what();
  }
  return "";
}

TEST(DecodeImage, GivesPillowsPixels) {
  for (const std::string& line : expected_lines("decode")) {
    std::istringstream words(line);
    std::string name, digest;
    std::int64_t height = 0, width = 0;
    words >> name >> height >> width >> digest;
    const at::Tensor image = decode(read_file(name));
    EXPECT_EQ(image.scalar_type(), at::kByte) << name;
    EXPECT_EQ(image.sizes(), at::IntArrayRef({3, height, width})) << name;
    EXPECT_EQ(digest_of(image), digest) << name;
  }
}

TEST(ReadImageSize, NeedsTheHeaderAlone) {
  const auto size_of = [](const std::string& name, const std::string& end) {
    Bytes bytes = read_file(name);
    const std::string text(bytes.begin(), bytes.end());
    bytes.resize(text.find(end) + end.size());
    EXPECT_NE(error_of([&] { decode(bytes); }).find("truncated"), std::string::npos) << name;
    const kd::ImageSize size = read_size(bytes);
    return std::vector{size.height, size.width, size.channels};
  };
  const std::string scan("\0\x3f\0", 3), pixels = "IDAT";  // what stands last in the headers
  EXPECT_EQ(size_of("grey.jpg", scan), (std::vector<std::int64_t>{13, 17, 1}));
  EXPECT_EQ(size_of("420.jpg", scan), (std::vector<std::int64_t>{13, 17, 3}));
  EXPECT_EQ(size_of("cmyk.jpg", scan), (std::vector<std::int64_t>{13, 17, 4}));
  EXPECT_EQ(size_of("grey1.png", pixels), (std::vector<std::int64_t>{7, 11, 1}));
  EXPECT_EQ(size_of("grey_alpha16.png", pixels), (std::vector<std::int64_t>{7, 11, 2}));
  EXPECT_EQ(size_of("palette4.png", pixels), (std::vector<std::int64_t>{7, 11, 3}));
  EXPECT_EQ(size_of("rgba8.png", pixels), (std::vector<std::int64_t>{7, 11, 4}));
}

TEST(DecodeImage, SaysWhatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> reasons = {
      {"huge.png", "60000 by 60000 pixels, and 178956970 in all are the limit"},
      {"huge.jpg", "60000 by 60000 pixels, and 178956970 in all are the limit"},
      {"empty.png", "libpng says: "},
      {"empty.jpg", "libjpeg says: "},
      {"promise.png", "too few for its 10000 by 10000 pixels"},
      {"short.png", "libpng says: "},
      {"checksum.png", "libpng says: "},
      {"picture.gif", "it is a GIF file, and only JPEG and PNG are read"},
      {"make.py", "it is no JPEG or PNG file"},
  };
  for (const auto& [name, reason] : reasons) {
    const std::string error = error_of([&] { decode(read_file(name)); });
    EXPECT_TRUE(error.starts_with("cannot read the image cat.jpg: ")) << name << ": " << error;
    EXPECT_NE(error.find(reason), std::string::npos) << name << ": " << error;
  }
  EXPECT_NE(error_of([] { decode({}); }).find("the file is empty"), std::string::npos);
  for (const std::string name : {"huge.png", "huge.jpg"}) EXPECT_THROW(read_size(read_file(name)), kd::FileError);
}

/// Reads bytes that may be damaged. True where they give an image.
bool survives(const Bytes& bytes) {
  try {
    const kd::ImageSize size = read_size(bytes);
    EXPECT_LE(size.height * size.width, kd::kMostPixels);
    EXPECT_EQ(decode(bytes).sizes(), at::IntArrayRef({3, size.height, size.width}));
    return true;
  } catch (const kd::FileError&) {
    return false;
  }
}

TEST(DecodeImage, SurvivesDamage) {
  std::mt19937 random(1);
  int cut = 0, cut_read = 0, flipped = 0, flipped_read = 0;
  for (const std::string& name : image_names()) {
    const Bytes whole = read_file(name);
    for (std::size_t size = 0; size < whole.size(); size += 16, ++cut) {
      // Exactly as large, so that a sanitizer sees a read beyond the end.
      cut_read += static_cast<int>(survives(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))));
    }
    for (int i = 0; i < 100; ++i, ++flipped) {
      Bytes bytes = whole;
      for (std::uint32_t count = 1 + random() % 4; count > 0; --count) {
        bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
      }
      flipped_read += static_cast<int>(survives(bytes));
    }
  }
  EXPECT_GT(cut, 500);
  EXPECT_GT(flipped, 2500);
  EXPECT_LT(cut_read, cut / 10);  // such as a PNG without its last chunk
  EXPECT_GT(flipped_read, flipped / 20);
  EXPECT_LT(flipped_read, flipped / 2);
}

kd::Interpolation parse_filter(const std::string& name) {
  if (name == "nearest") return kd::Interpolation::kNearest;
  return name == "bilinear" ? kd::Interpolation::kBilinear : kd::Interpolation::kBicubic;
}

TEST(ResizeImage, GivesPillowsPixels) {
  for (const std::string& line : expected_lines("resize")) {
    std::istringstream words(line);
    std::string name, filter, digest;
    std::int64_t height = 0, width = 0;
    kd::ImageBox box;
    words >> name >> height >> width >> filter >> box.left >> box.top >> box.right >> box.bottom >> digest;
    const at::Tensor image = decode(read_file(name));
    EXPECT_EQ(digest_of(kd::resize_image(image, height, width, parse_filter(filter), box)), digest) << line;
    if (box.right == 17 && box.left == 0) {
      EXPECT_EQ(digest_of(kd::resize_image(image, height, width, parse_filter(filter))), digest) << line;
    }
  }
}

TEST(ResizeImage, TakesAnyChannelsAndStrides) {
  const at::Tensor image = decode(read_file("444.jpg"));
  const at::Tensor resized = kd::resize_image(image, 6, 5, kd::Interpolation::kBicubic);
  const at::Tensor five = at::cat({image, image.narrow(0, 1, 2)});
  EXPECT_TRUE(
      kd::resize_image(five, 6, 5, kd::Interpolation::kBicubic).equal(at::cat({resized, resized.narrow(0, 1, 2)})));
  const at::Tensor strided = image.permute({1, 2, 0}).contiguous().permute({2, 0, 1});
  EXPECT_TRUE(kd::resize_image(strided, 6, 5, kd::Interpolation::kBicubic).equal(resized));
}

TEST(ResizeImage, KeepsWhatItCan) {
  const at::Tensor image = decode(read_file("444.jpg"));
  for (const auto filter : {kd::Interpolation::kBilinear, kd::Interpolation::kBicubic, kd::Interpolation::kNearest}) {
    const at::Tensor same = kd::resize_image(image, 13, 17, filter);
    EXPECT_TRUE(same.equal(image));
    EXPECT_NE(same.const_data_ptr(), image.const_data_ptr());
    const at::Tensor part = kd::resize_image(image, 4, 5, filter, kd::ImageBox{2, 3, 7, 7});
    EXPECT_TRUE(part.equal(image.narrow(1, 3, 4).narrow(2, 2, 5)));
    const at::Tensor white = at::full({1, 9, 10}, 255, at::kByte);  // the weights sum up to one
    EXPECT_EQ(kd::resize_image(white, 7, 23, filter).min().item<int>(), 255);
  }
}

TEST(ResizeImage, RefusesWhatMakesNoSense) {
  const at::Tensor image = at::zeros({3, 13, 17}, at::kByte);
  const auto resize = [&](std::int64_t height, std::int64_t width, const kd::ImageBox& box) {
    return error_of([&] { kd::resize_image(image, height, width, kd::Interpolation::kBilinear, box); });
  };
  const kd::ImageBox whole{0, 0, 17, 13};
  EXPECT_EQ(resize(5, 5, whole), "");
  for (const auto& [height, width] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {0, 5}, {5, 0}, {-1, 5}, {60000, 60000}, {std::int64_t{1} << 62, 4}}) {
    EXPECT_NE(resize(height, width, whole).find("pixels are possible"), std::string::npos) << height << 'x' << width;
  }
  for (const kd::ImageBox& box : {kd::ImageBox{-1, 0, 5, 5}, kd::ImageBox{0, 0, 17.5, 13}, kd::ImageBox{3, 3, 3, 5},
                                  kd::ImageBox{3, 5, 4, 5}, kd::ImageBox{0, 0, std::nan(""), 5}}) {
    EXPECT_NE(resize(5, 5, box).find("is empty or not within the image of 17 by 13 pixels"), std::string::npos);
  }
  for (const at::Tensor& other : {image.to(at::kFloat), image.select(0, 0), image.narrow(1, 0, 0)}) {
    EXPECT_THROW(kd::resize_image(other, 5, 5, kd::Interpolation::kBilinear), kd::Error);
  }
  // Both images are small, but not what lies between them.
  const at::Tensor tall = at::zeros({1, 1 << 20, 1}, at::kByte);
  EXPECT_THROW(kd::resize_image(tall, 1, 1 << 20, kd::Interpolation::kBilinear), kd::Error);
}

TEST(ResizeImage, StaysWithinAnImageWhoseSizeIsNoFloat) {
  const std::int64_t size = (1 << 26) + 12;  // a float is four more
  const at::Tensor tall = at::full({1, size, 1}, 255, at::kByte);
  const kd::ImageBox end{0, (1 << 26) - 8, 1, static_cast<double>(size)};
  for (const auto filter : {kd::Interpolation::kBilinear, kd::Interpolation::kBicubic, kd::Interpolation::kNearest}) {
    for (const std::int64_t height : {5, 24, 48}) {
      EXPECT_EQ(kd::resize_image(tall, height, 1, filter, end).sizes(), at::IntArrayRef({1, height, 1}));
    }
  }
}

}  // namespace
