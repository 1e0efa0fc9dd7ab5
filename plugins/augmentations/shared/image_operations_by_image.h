// The operations of image_operations.h on one image at a time, for the CPU.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "image_operations.h"

namespace image_operations {

/// A uint8 image C×H×W.
struct ByteImage {
  const std::uint8_t* pixels;
  std::int64_t channels, height, width;

  std::int64_t plane() const { return height * width; }
  std::int64_t size() const { return channels * plane(); }
};

inline void resample_nearest(const ByteImage& image, const double* matrix, std::uint8_t fill, std::uint8_t* result) {
  const auto fixed = [](double value) { return static_cast<std::int64_t>(std::floor(value * kFixedOne + 0.5)); };
  const std::int64_t x_per_x = fixed(matrix[0]), x_per_y = fixed(matrix[1]);
  const std::int64_t y_per_x = fixed(matrix[3]), y_per_y = fixed(matrix[4]);
  const std::int64_t first_x = fixed(matrix[2] + matrix[0] * 0.5 + matrix[1] * 0.5);
  const std::int64_t first_y = fixed(matrix[5] + matrix[3] * 0.5 + matrix[4] * 0.5);
  for (std::int64_t y = 0; y < image.height; ++y) {
    for (std::int64_t x = 0; x < image.width; ++x) {
      const std::int64_t from_x = (first_x + y * x_per_y + x * x_per_x) >> kFixedBits;
      const std::int64_t from_y = (first_y + y * y_per_y + x * y_per_x) >> kFixedBits;
      const bool inside = from_x >= 0 && from_x < image.width && from_y >= 0 && from_y < image.height;
      for (std::int64_t c = 0; c < image.channels; ++c) {
        result[c * image.plane() + y * image.width + x] =
            inside ? image.pixels[c * image.plane() + from_y * image.width + from_x] : fill;
      }
    }
  }
}

/// The value between four pixels, cut to an integer as Pillow does.
inline std::uint8_t bilinear_pixel(const std::uint8_t* upper, const std::uint8_t* lower, std::int64_t left,
                                   std::int64_t right, double across, double down) {
  const double above = upper[left] + (upper[right] - upper[left]) * across;
  const double below = lower[left] + (lower[right] - lower[left]) * across;
  return static_cast<std::uint8_t>(above + (below - above) * down);
}

/// The pixels on both sides of a place on an axis, and the way from the first to the second; both are one at the
/// border.
struct Neighbours {
  std::int64_t first, second;
  double part;
};

inline Neighbours neighbours(double place, std::int64_t size) {
  auto whole = static_cast<std::int64_t>(place);
  if (place < static_cast<double>(whole)) --whole;  // std::floor is a call on plain x86-64
  return {std::max<std::int64_t>(whole, 0), std::min(whole + 1, size - 1), place - static_cast<double>(whole)};
}

inline void resample_bilinear(const ByteImage& image, const double* matrix, std::uint8_t fill, std::uint8_t* result) {
  const auto width = static_cast<double>(image.width), height = static_cast<double>(image.height);
  for (std::int64_t y = 0; y < image.height; ++y) {
    const double at_y = static_cast<double>(y) + 0.5;
    for (std::int64_t x = 0; x < image.width; ++x) {
      const double at_x = static_cast<double>(x) + 0.5;
      const double from_x = matrix[0] * at_x + matrix[1] * at_y + matrix[2];
      const double from_y = matrix[3] * at_x + matrix[4] * at_y + matrix[5];
      std::uint8_t* const pixel = result + y * image.width + x;
      if (!(from_x >= 0 && from_x < width && from_y >= 0 && from_y < height)) {
        for (std::int64_t c = 0; c < image.channels; ++c) pixel[c * image.plane()] = fill;
        continue;
      }
      const Neighbours columns = neighbours(from_x - 0.5, image.width), lines = neighbours(from_y - 0.5, image.height);
      for (std::int64_t c = 0; c < image.channels; ++c) {
        const std::uint8_t* const plane = image.pixels + c * image.plane();
        pixel[c * image.plane()] = bilinear_pixel(plane + lines.first * image.width, plane + lines.second * image.width,
                                                  columns.first, columns.second, columns.part, lines.part);
      }
    }
  }
}

inline void resample(const ByteImage& image, const double* matrix, Interpolation interpolation, std::uint8_t fill,
                     std::uint8_t* result) {
  if (interpolation == Interpolation::kNearest) {
    resample_nearest(image, matrix, fill, result);
  } else {
    resample_bilinear(image, matrix, fill, result);
  }
}

using Table = std::array<std::uint8_t, 256>;

/// ImageOps.autocontrast: the least and greatest value become 0 and 255.
inline std::uint8_t stretched(int value, int least, int greatest) {
  const double scale = 255.0 / (greatest - least);
  const double stretch = value * scale + -least * scale;
  return static_cast<std::uint8_t>(std::clamp(stretch, 0.0, 255.0));
}

/// ImageOps.equalize; `last` is the count of the greatest value.
inline Table equalizing_table(const std::array<std::int64_t, 256>& counts, std::int64_t pixels, std::int64_t last) {
  const std::int64_t step = (pixels - last) / 255;
  std::int64_t sum = step / 2;
  Table table;
  for (std::size_t value = 0; value < 256; ++value) {
    table[value] = static_cast<std::uint8_t>(step == 0 ? static_cast<std::int64_t>(value)
                                                       : std::min<std::int64_t>(255, sum / step));
    sum += counts[value];
  }
  return table;
}

/// What an operation makes of each value of a channel that depends on the channel's histogram.
inline Table histogram_table(Operation operation, const std::uint8_t* plane, std::int64_t pixels) {
  std::array<std::int64_t, 256> counts{};
  for (std::int64_t i = 0; i < pixels; ++i) ++counts[plane[i]];
  int least = 0, greatest = 255;
  while (counts[static_cast<std::size_t>(least)] == 0) ++least;
  while (counts[static_cast<std::size_t>(greatest)] == 0) --greatest;
  if (operation == Operation::kEqualize) {
    return equalizing_table(counts, pixels, counts[static_cast<std::size_t>(greatest)]);
  }
  Table table;
  for (int value = 0; value < 256; ++value) {
    table[static_cast<std::size_t>(value)] =
        least == greatest ? static_cast<std::uint8_t>(value) : stretched(value, least, greatest);
  }
  return table;
}

inline std::uint8_t looked_up(Operation operation, double magnitude, int value) {
  switch (operation) {
    case Operation::kPosterize: {
      const int dropped = 8 - static_cast<int>(magnitude);
      return static_cast<std::uint8_t>(value >> dropped << dropped);
    }
    case Operation::kSolarize:
      return static_cast<std::uint8_t>(value < magnitude ? value : 255 - value);
    default:
      return static_cast<std::uint8_t>(255 - value);
  }
}

inline void look_up(const ByteImage& image, Operation operation, double magnitude, std::uint8_t* result) {
  const bool by_histogram = operation == Operation::kAutocontrast || operation == Operation::kEqualize;
  for (std::int64_t c = 0; c < image.channels; ++c) {
    const std::uint8_t* plane = image.pixels + c * image.plane();
    Table table;
    if (by_histogram) {
      table = histogram_table(operation, plane, image.plane());
    } else {
      for (int value = 0; value < 256; ++value) {
        table[static_cast<std::size_t>(value)] = looked_up(operation, magnitude, value);
      }
    }
    for (std::int64_t i = 0; i < image.plane(); ++i) result[c * image.plane() + i] = table[plane[i]];
  }
}

/// Image.convert("L"): ITU-R 601-2 luma in 16-bit fixed point.
inline std::vector<std::uint8_t> grey(const ByteImage& image) {
  std::vector<std::uint8_t> result(image.pixels, image.pixels + image.plane());
  if (image.channels == 1) return result;
  const std::uint8_t *red = image.pixels, *green = red + image.plane(), *blue = green + image.plane();
  for (std::int64_t i = 0; i < image.plane(); ++i) {
    result[static_cast<std::size_t>(i)] =
        static_cast<std::uint8_t>((red[i] * 19595 + green[i] * 38470 + blue[i] * 7471 + 0x8000) >> 16);
  }
  return result;
}

inline std::uint8_t mean_grey(const ByteImage& image) {
  std::int64_t sum = 0;
  for (const std::uint8_t value : grey(image)) sum += value;
  return static_cast<std::uint8_t>((2 * sum + image.plane()) / (2 * image.plane()));
}

/// ImageFilter.SMOOTH: weights 1 and 5 in the middle over 13; the border stays.
inline std::vector<std::uint8_t> smooth(const ByteImage& image) {
  std::vector<std::uint8_t> result(image.pixels, image.pixels + image.size());
  for (std::int64_t c = 0; c < image.channels; ++c) {
    for (std::int64_t y = 1; y + 1 < image.height; ++y) {
      for (std::int64_t x = 1; x + 1 < image.width; ++x) {
        const std::int64_t middle = (c * image.height + y) * image.width + x;
        int sum = 4 * image.pixels[middle];
        for (std::int64_t row = middle - image.width; row <= middle + image.width; row += image.width) {
          sum += image.pixels[row - 1] + image.pixels[row] + image.pixels[row + 1];
        }
        result[static_cast<std::size_t>(middle)] = static_cast<std::uint8_t>((2 * sum + 13) / 26);
      }
    }
  }
  return result;
}

/// The image that a factor of 0 gives; ImageEnhance's "degenerate".
inline std::vector<std::uint8_t> degenerate(const ByteImage& image, Operation operation) {
  const auto size = static_cast<std::size_t>(image.size());
  if (operation == Operation::kSharpness) return smooth(image);
  if (operation == Operation::kBrightness) return std::vector<std::uint8_t>(size, 0);
  if (operation == Operation::kContrast) return std::vector<std::uint8_t>(size, mean_grey(image));
  const std::vector<std::uint8_t> plane = grey(image);
  std::vector<std::uint8_t> result;
  for (std::int64_t c = 0; c < image.channels; ++c) result.insert(result.end(), plane.begin(), plane.end());
  return result;
}

/// Image.blend, in single precision as Pillow has it.
inline void blend(const ByteImage& image, Operation operation, double magnitude, std::uint8_t* result) {
  const std::vector<std::uint8_t> base = degenerate(image, operation);
  const auto factor = static_cast<float>(magnitude);
  for (std::size_t i = 0; i < base.size(); ++i) {
    const float change = factor * static_cast<float>(image.pixels[i] - base[i]);
    result[i] = static_cast<std::uint8_t>(std::clamp(static_cast<float>(base[i]) + change, 0.0F, 255.0F));
  }
}

inline void change(const ByteImage& image, Operation operation, double magnitude, const double* matrix,
                   Interpolation interpolation, std::uint8_t fill, std::uint8_t* result) {
  if (is_geometric(operation)) {
    resample(image, matrix, interpolation, fill, result);
  } else if (is_blend(operation)) {
    blend(image, operation, magnitude, result);
  } else {
    look_up(image, operation, magnitude, result);
  }
}

inline at::Tensor apply_by_image(const at::Tensor& images, const Choice& choice, Interpolation interpolation,
                                 std::uint8_t fill) {
  const at::Tensor source = images.contiguous();
  const at::Tensor result = at::empty_like(source);
  const at::Tensor matrices = affine_matrices(choice, source.size(2), source.size(3)).contiguous();
  const at::Tensor operations = choice.operation.contiguous(), magnitudes = choice.magnitude.contiguous();
  const auto* operation = operations.const_data_ptr<std::int64_t>();
  const auto* magnitude = magnitudes.const_data_ptr<double>();
  const auto* matrix = matrices.const_data_ptr<double>();
  const auto* from = source.const_data_ptr<std::uint8_t>();
  auto* to = result.mutable_data_ptr<std::uint8_t>();
  at::parallel_for(0, source.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> spare(static_cast<std::size_t>(source.stride(0)));
    for (std::int64_t n = begin; n < end; ++n) {
      ByteImage image{from + n * source.stride(0), source.size(1), source.size(2), source.size(3)};
      std::uint8_t* const target = to + n * source.stride(0);
      for (std::int64_t i = n * choice.steps(); i < (n + 1) * choice.steps(); ++i) {
        const auto chosen = static_cast<Operation>(operation[i]);
        if (chosen == Operation::kIdentity) continue;
        std::uint8_t* const next = image.pixels == target ? spare.data() : target;
        change(image, chosen, magnitude[i], matrix + 6 * i, interpolation, fill, next);
        image.pixels = next;
      }
      if (image.pixels != target) std::memcpy(target, image.pixels, static_cast<std::size_t>(image.size()));
    }
  });
  return result;
}

}  // namespace image_operations
