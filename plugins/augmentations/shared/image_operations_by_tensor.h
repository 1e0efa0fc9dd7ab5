// The operations of image_operations.h by tensor operations, on any device, without waiting for it: three kinds of
// change are computed for the whole batch, each with a matrix, table or blend per sample, and one is chosen per sample.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "image_operations.h"

namespace image_operations {

inline at::Tensor per_image(const at::Tensor& values) { return values.view({-1, 1, 1, 1}); }

/// A matrix entry for all pixels, N×1×1, and coordinates along one axis.
inline at::Tensor entry(const at::Tensor& matrices, std::int64_t number) {
  return matrices.select(1, number).view({-1, 1, 1});
}
inline at::Tensor axis_x(const at::Tensor& like, std::int64_t width) {
  return at::arange(width, like.options()).view({1, 1, -1});
}
inline at::Tensor axis_y(const at::Tensor& like, std::int64_t height) {
  return at::arange(height, like.options()).view({1, -1, 1});
}

/// Whether places (N×H×W) lie inside an image, and the pixels there; those outside are of no use.
inline at::Tensor is_inside(const at::Tensor& x, const at::Tensor& y, const at::Tensor& images) {
  return at::logical_and(at::logical_and(x.ge(0), x.lt(images.size(3))),
                         at::logical_and(y.ge(0), y.lt(images.size(2))));
}
inline at::Tensor pixels_at(const at::Tensor& images, const at::Tensor& x, const at::Tensor& y) {
  const at::Tensor place = y.clamp(0, images.size(2) - 1) * images.size(3) + x.clamp(0, images.size(3) - 1);
  const at::Tensor places = place.flatten(1).unsqueeze(1).expand({-1, images.size(1), -1});
  return images.flatten(2).gather(2, places).view_as(images);
}

inline at::Tensor resampled_nearest(const at::Tensor& images, const at::Tensor& matrices, std::uint8_t fill) {
  const auto fixed = [](const at::Tensor& value) { return (value * kFixedOne + 0.5).floor().to(at::kLong); };
  const auto whole = [&](std::int64_t number) { return fixed(entry(matrices, number)); };
  const auto first = [&](std::int64_t row) {
    return fixed(entry(matrices, row + 2) + entry(matrices, row) * 0.5 + entry(matrices, row + 1) * 0.5);
  };
  const at::Tensor index = matrices.to(at::kLong);
  const at::Tensor column = axis_x(index, images.size(3)), line = axis_y(index, images.size(2));
  const at::Tensor x = (first(0) + line * whole(1) + column * whole(0)).__rshift__(kFixedBits);
  const at::Tensor y = (first(3) + line * whole(4) + column * whole(3)).__rshift__(kFixedBits);
  return pixels_at(images, x, y).masked_fill(is_inside(x, y, images).logical_not().unsqueeze(1), fill);
}

inline at::Tensor resampled_bilinear(const at::Tensor& images, const at::Tensor& matrices, std::uint8_t fill) {
  const at::Tensor column = axis_x(matrices, images.size(3)) + 0.5, line = axis_y(matrices, images.size(2)) + 0.5;
  const auto place = [&](std::int64_t row) {
    return entry(matrices, row) * column + entry(matrices, row + 1) * line + entry(matrices, row + 2);
  };
  const at::Tensor x = place(0), y = place(3);
  const at::Tensor left = (x - 0.5).floor(), top = (y - 0.5).floor();
  const at::Tensor across = (x - 0.5 - left).unsqueeze(1), down = (y - 0.5 - top).unsqueeze(1);
  const at::Tensor at_x = left.to(at::kLong), at_y = top.to(at::kLong);
  const auto pixels = [&](std::int64_t right_by, std::int64_t down_by) {
    return pixels_at(images, at_x + right_by, at_y + down_by).to(at::kDouble);
  };
  const auto between = [](const at::Tensor& a, const at::Tensor& b, const at::Tensor& part) {
    const at::Tensor change = (b - a) * part;
    return a + change;
  };
  const at::Tensor above = between(pixels(0, 0), pixels(1, 0), across);
  const at::Tensor below = between(pixels(0, 1), pixels(1, 1), across);
  const at::Tensor result = between(above, below, down).to(at::kByte);
  return result.masked_fill(is_inside(x, y, images).logical_not().unsqueeze(1), fill);
}

inline at::Tensor resampled(const at::Tensor& images, const at::Tensor& matrices, Interpolation interpolation,
                            std::uint8_t fill) {
  return interpolation == Interpolation::kNearest ? resampled_nearest(images, matrices, fill)
                                                  : resampled_bilinear(images, matrices, fill);
}

/// ImageOps.autocontrast; `sorted` are the values of each channel in order, N×C×pixels.
inline at::Tensor stretching_tables(const at::Tensor& sorted, const at::Tensor& value) {
  const at::Tensor least = sorted.narrow(2, 0, 1), span = sorted.narrow(2, sorted.size(2) - 1, 1) - least;
  const at::Tensor scale = 255.0 / span.clamp_min(1).to(at::kDouble);
  const at::Tensor offset = -least * scale;
  const at::Tensor stretch = value * scale + offset;
  return at::where(span.eq(0), value, stretch.clamp(0, 255).to(at::kLong));
}

/// ImageOps.equalize, with the histogram summed up to each value found in the order of the pixels.
inline at::Tensor equalizing_tables(const at::Tensor& sorted, const at::Tensor& value) {
  const at::Tensor values = value.expand({sorted.size(0), sorted.size(1), -1}).contiguous();
  const at::Tensor below = at::searchsorted(sorted, values);
  const at::Tensor below_greatest = below.gather(2, sorted.narrow(2, sorted.size(2) - 1, 1));
  const at::Tensor step = below_greatest.floor_divide(255);
  const at::Tensor sum = below + step.floor_divide(2);
  return at::where(step.eq(0), value, sum.floor_divide(step.clamp_min(1)).clamp_max(255));
}

/// What each value of each channel becomes, int64, N×C×256.
inline at::Tensor tables(const at::Tensor& images, const Choice& choice) {
  const at::Tensor sorted = std::get<0>(images.flatten(2).to(at::kLong).sort(2)).contiguous();
  const at::Tensor value = at::arange(256, sorted.options()).view({1, 1, -1});
  const auto one_per_image = [](const at::Tensor& of_sample) { return of_sample.view({-1, 1, 1}); };
  const at::Tensor magnitude = one_per_image(choice.magnitude);
  const at::Tensor dropped = 8 - magnitude.to(at::kLong).clamp(0, 8);
  at::Tensor table = value.__rshift__(dropped).__lshift__(dropped);
  const auto put = [&](Operation operation, const at::Tensor& other) {
    table = at::where(one_per_image(choice.is(operation)), other, table);
  };
  put(Operation::kSolarize, at::where(value.lt(magnitude), value, 255 - value));
  put(Operation::kAutocontrast, stretching_tables(sorted, value));
  put(Operation::kEqualize, equalizing_tables(sorted, value));
  put(Operation::kInvert, 255 - value);
  return table;
}

inline at::Tensor look_up_all(const at::Tensor& images, const Choice& choice) {
  const at::Tensor table = tables(images, choice).expand({-1, images.size(1), -1});
  return table.gather(2, images.flatten(2).to(at::kLong)).to(at::kByte).view_as(images);
}

/// Image.convert("L") of int images, N×1×H×W.
inline at::Tensor grey_of(const at::Tensor& images) {
  if (images.size(1) == 1) return images;
  const auto channel = [&](std::int64_t c) { return images.narrow(1, c, 1); };
  return (channel(0) * 19595 + channel(1) * 38470 + channel(2) * 7471 + 0x8000).__rshift__(16);
}

inline at::Tensor smooth_of(const at::Tensor& images) {
  const std::int64_t height = images.size(2), width = images.size(3);
  const at::Tensor result = images.clone();
  if (height < 3 || width < 3) return result;
  at::Tensor sum = images.narrow(2, 1, height - 2).narrow(3, 1, width - 2) * 4;
  for (std::int64_t y = 0; y < 3; ++y) {
    for (std::int64_t x = 0; x < 3; ++x) sum = sum + images.narrow(2, y, height - 2).narrow(3, x, width - 2);
  }
  result.narrow(2, 1, height - 2).narrow(3, 1, width - 2).copy_((sum * 2 + 13).floor_divide(26));
  return result;
}

inline at::Tensor blend_all(const at::Tensor& images, const Choice& choice) {
  const at::Tensor whole = images.to(at::kInt);
  const at::Tensor grey = grey_of(whole);
  const std::int64_t pixels = images.size(2) * images.size(3);
  const at::Tensor mean = (grey.sum({1, 2, 3}, /*keepdim=*/true) * 2 + pixels).floor_divide(2 * pixels).to(at::kInt);
  at::Tensor base = at::zeros_like(whole);
  base = at::where(per_image(choice.is(Operation::kColor)), grey, base);
  base = at::where(per_image(choice.is(Operation::kContrast)), mean, base);
  base = at::where(per_image(choice.is(Operation::kSharpness)), smooth_of(whole), base);
  const at::Tensor change = (whole - base).to(at::kFloat) * per_image(choice.magnitude.to(at::kFloat));
  return (base.to(at::kFloat) + change).clamp_(0, 255).to(at::kByte);
}

inline at::Tensor apply_by_tensor(const at::Tensor& images, const Choice& choice, Interpolation interpolation,
                                  std::uint8_t fill) {
  const auto among = [&](Operation first, Operation last) {
    return per_image(at::logical_and(choice.operation.ge(static_cast<std::int64_t>(first)),
                                     choice.operation.le(static_cast<std::int64_t>(last))));
  };
  const at::Tensor source = images.contiguous();
  const at::Tensor matrices = affine_matrices(choice, source.size(2), source.size(3));
  at::Tensor result = at::where(among(Operation::kShearX, Operation::kRotate),
                                resampled(source, matrices, interpolation, fill), source);
  result = at::where(among(Operation::kBrightness, Operation::kSharpness), blend_all(source, choice), result);
  return at::where(among(Operation::kPosterize, Operation::kInvert), look_up_all(source, choice), result);
}

}  // namespace image_operations
