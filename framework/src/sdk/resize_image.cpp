// Resizing with Pillow's bytes, kd/images.h: a filter in fixed point along the rows, rounded, and then along the
// columns. The numbers are Pillow's: 22 bits after the point, a box in float, all else in double.
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "kd/diagnostics.h"
#include "kd/images.h"

namespace kd {
namespace {

using Byte = std::uint8_t;

constexpr int kFractionBits = 22;
constexpr std::int32_t kHalf = 1 << (kFractionBits - 1);

double triangle(double x) { return std::max(0.0, 1 - std::abs(x)); }

/// Keys' cubic convolution with a = -1/2.
double keys_cubic(double x) {
  x = std::abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * -0.5;
  return 0;
}

/// A dimension of the image: `begin` to `end` of its `size` pixels become `wanted` ones.
struct SourceAxis {
  std::int64_t size = 0;
  float begin = 0;
  float end = 0;
  std::int64_t wanted = 0;

  bool is_copied() const {
    return begin == std::floor(begin) && end - begin == static_cast<float>(wanted) &&
           static_cast<std::int64_t>(begin) + wanted <= size;
  }
  double scale() const { return static_cast<double>(end - begin) / static_cast<double>(wanted); }
};

/// The weights of the pixels of an axis in each new one.
class Weights {
 public:
  Weights(const SourceAxis& axis, Interpolation interpolation) {
    const auto filter = interpolation == Interpolation::kBilinear ? triangle : keys_cubic;
    const double scale = axis.scale();
    const double stretch = std::max(scale, 1.0);  // wider where it shrinks, so that every pixel counts
    const double support = (interpolation == Interpolation::kBilinear ? 1.0 : 2.0) * stretch;
    starts_.push_back(0);
    std::vector<double> exact;
    for (std::int64_t i = 0; i < axis.wanted; ++i) {
      const double center = axis.begin + (static_cast<double>(i) + 0.5) * scale;
      // Float rounds a size above 2^24, so that a centre may lie beyond the last pixel.
      const auto first = std::clamp<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0, axis.size - 1);
      const auto last = std::min(static_cast<std::int64_t>(center + support + 0.5), axis.size);
      exact.clear();
      double sum = 0;
      for (std::int64_t j = first; j < last; ++j) {
        exact.push_back(filter((static_cast<double>(j) - center + 0.5) * (1 / stretch)));
        sum += exact.back();
      }
      for (const double weight : exact) fixed_.push_back(to_fixed(sum == 0 ? weight : weight / sum));
      firsts_.push_back(first);
      starts_.push_back(fixed_.size());
    }
  }

  std::int64_t first(std::int64_t i) const { return firsts_[static_cast<std::size_t>(i)]; }
  std::span<const std::int32_t> of(std::int64_t i) const {
    const std::size_t start = starts_[static_cast<std::size_t>(i)];
    return {fixed_.data() + start, starts_[static_cast<std::size_t>(i) + 1] - start};
  }
  /// One after the last pixel that any new one needs.
  std::int64_t end() const { return firsts_.back() + static_cast<std::int64_t>(fixed_.size() - starts_.end()[-2]); }

 private:
  static std::int32_t to_fixed(double weight) {
    return static_cast<std::int32_t>(weight * (1 << kFractionBits) + (weight < 0 ? -0.5 : 0.5));
  }

  std::vector<std::int64_t> firsts_;
  std::vector<std::size_t> starts_;  // in fixed_, one more than firsts_
  std::vector<std::int32_t> fixed_;
};

Byte to_byte(std::int32_t sum) { return static_cast<Byte>(std::clamp(sum >> kFractionBits, 0, 255)); }

/// Filters kRows rows at once, which shares the reading of weights.
template <int kRows>
void filter_rows(const Byte* in, std::int64_t in_width, const Weights& weights, Byte* out, std::int64_t width) {
  for (std::int64_t x = 0; x < width; ++x) {
    const Byte* pixel = in + weights.first(x);
    std::array<std::int32_t, kRows> sums;
    sums.fill(kHalf);
    for (const std::int32_t weight : weights.of(x)) {
      for (int row = 0; row < kRows; ++row) sums[row] += weight * pixel[row * in_width];
      ++pixel;
    }
    for (int row = 0; row < kRows; ++row) out[row * width + x] = to_byte(sums[row]);
  }
}

/// Makes a row of the rows from `in` on, one for each weight. By blocks, whose sums stay in the nearest cache.
void filter_columns(const Byte* in, std::span<const std::int32_t> weights, Byte* out, std::int64_t width) {
  constexpr std::int64_t kBlock = 64;
  for (std::int64_t begin = 0; begin < width; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, width - begin);
    std::array<std::int32_t, kBlock> sums;
    sums.fill(kHalf);
    const Byte* row = in + begin;
    for (const std::int32_t weight : weights) {
      for (std::int64_t x = 0; x < count; ++x) sums[x] += weight * row[x];
      row += width;
    }
    for (std::int64_t x = 0; x < count; ++x) out[begin + x] = to_byte(sums[x]);
  }
}

/// Resizes one channel. The rows that no new one needs are left out.
void filter_plane(const Byte* in, const SourceAxis& columns, const Weights& by_column, const SourceAxis& rows,
                  const Weights& by_row, Byte* out) {
  const std::int64_t first = by_row.first(0);
  const std::int64_t width = columns.wanted;
  std::vector<Byte> narrowed(static_cast<std::size_t>((by_row.end() - first) * width));
  std::int64_t y = first;
  for (; y + 4 <= by_row.end(); y += 4) {
    filter_rows<4>(in + y * columns.size, columns.size, by_column, narrowed.data() + (y - first) * width, width);
  }
  for (; y < by_row.end(); ++y) {
    filter_rows<1>(in + y * columns.size, columns.size, by_column, narrowed.data() + (y - first) * width, width);
  }
  for (std::int64_t i = 0; i < rows.wanted; ++i) {
    filter_columns(narrowed.data() + (by_row.first(i) - first) * width, by_row.of(i), out + i * width, width);
  }
}

/// The pixel of an axis that each new one takes. Sums up steps, as Pillow does.
std::vector<std::int64_t> nearest_pixels(const SourceAxis& axis) {
  std::vector<std::int64_t> pixels;
  double position = axis.begin + axis.scale() * 0.5;
  for (std::int64_t i = 0; i < axis.wanted; ++i, position += axis.scale()) {
    pixels.push_back(std::min(static_cast<std::int64_t>(position), axis.size - 1));
  }
  return pixels;
}

void check_image(const at::Tensor& image) {
  if (image.dim() != 3 || image.scalar_type() != at::kByte || !image.is_cpu() || image.numel() == 0) {
    throw Error("an image to resize is uint8, channels by height by width, on the CPU and not empty");
  }
}

void check_box(const ImageBox& box, const at::Tensor& image) {
  const auto height = static_cast<double>(image.size(1)), width = static_cast<double>(image.size(2));
  if (box.left >= 0 && box.top >= 0 && box.right <= width && box.bottom <= height && box.left < box.right &&
      box.top < box.bottom) {
    return;
  }
  throw Error(fmt::format("the box from ({}, {}) to ({}, {}) is empty or not within the image of {} by {} pixels",
                          box.left, box.top, box.right, box.bottom, width, height));
}

void check_pixels(std::int64_t height, std::int64_t width) {
  if (height >= 1 && width >= 1 && height <= kMostPixels / width) return;
  throw Error(fmt::format("cannot resize an image by way of {} by {} pixels: from 1 to {} pixels are possible", width,
                          height, kMostPixels));
}

}  // namespace

at::Tensor resize_image(const at::Tensor& image, std::int64_t height, std::int64_t width, Interpolation interpolation,
                        const std::optional<ImageBox>& box) {
  check_image(image);
  check_pixels(image.size(1), image.size(2));
  check_pixels(height, width);
  const ImageBox part =
      box.value_or(ImageBox{.right = static_cast<double>(image.size(2)), .bottom = static_cast<double>(image.size(1))});
  check_box(part, image);
  const SourceAxis rows{image.size(1), static_cast<float>(part.top), static_cast<float>(part.bottom), height};
  const SourceAxis columns{image.size(2), static_cast<float>(part.left), static_cast<float>(part.right), width};
  if (rows.is_copied() && columns.is_copied()) {
    return image.narrow(1, static_cast<std::int64_t>(rows.begin), height)
        .narrow(2, static_cast<std::int64_t>(columns.begin), width)
        .clone(at::MemoryFormat::Contiguous);
  }
  const at::Tensor source = image.contiguous();
  at::Tensor result = at::empty({image.size(0), height, width}, at::kByte);
  const Byte* in = source.const_data_ptr<Byte>();
  Byte* out = result.mutable_data_ptr<Byte>();
  if (interpolation == Interpolation::kNearest) {
    const std::vector<std::int64_t> from_rows = nearest_pixels(rows), from_columns = nearest_pixels(columns);
    for (std::int64_t channel = 0; channel < image.size(0); ++channel, in += rows.size * columns.size) {
      for (const std::int64_t y : from_rows) {
        for (const std::int64_t x : from_columns) *out++ = in[y * columns.size + x];
      }
    }
    return result;
  }
  const Weights by_row(rows, interpolation), by_column(columns, interpolation);
  check_pixels(by_row.end() - by_row.first(0), width);
  for (std::int64_t channel = 0; channel < image.size(0); ++channel) {
    filter_plane(in + channel * rows.size * columns.size, columns, by_column, rows, by_row,
                 out + channel * height * width);
  }
  return result;
}

}  // namespace kd
