// The operations of image_operations.h by tensor operations, on any device, without waiting for it. Each of three kinds
// of change is made to the whole batch, with a matrix, table or blend per sample that leaves the others as they are.
// What does not depend on the pixels is computed for all steps at once, since small kernels cost as much as large ones.
#pragma once

#include <ATen/ops/aminmax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/div.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/logical_or.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "image_operations.h"

namespace image_operations {

inline at::Tensor per_image(const at::Tensor& values) { return values.view({-1, 1, 1, 1}); }

/// Where the pixels of the results come from.
struct Sources {
  at::Tensor place;         ///< int64, N×steps×pixels: in a channel; bilinear, N×steps×(lower · right · pixels)
  at::Tensor outside;       ///< bool, N×steps×H×W
  at::Tensor across, down;  ///< double, N×steps×H×W: how far towards the right and lower pixels; bilinear alone

  at::Tensor places(std::int64_t step, std::int64_t channels) const {
    return place.select(1, step).unsqueeze(1).expand({-1, channels, -1});
  }
};

/// Column and line that matrices (N×steps×2×3) take each pixel from, N×steps×H×W each; pixels are counted from `first`.
inline std::pair<at::Tensor, at::Tensor> coordinates(const at::Tensor& matrices, const at::Tensor& images,
                                                     double first) {
  const auto axis = [&](std::int64_t size) {
    return at::arange(first, static_cast<double>(size) + first, matrices.options());
  };
  const auto entry = [&](std::int64_t column) { return matrices.narrow(3, column, 1).unsqueeze(4); };
  const at::Tensor both = entry(0) * axis(images.size(3)) + entry(1) * axis(images.size(2)).unsqueeze(1) + entry(2);
  return {both.select(2, 0), both.select(2, 1)};
}

inline Sources nearest_sources(const at::Tensor& matrices, const at::Tensor& images) {
  const auto entry = [&](std::int64_t column) { return matrices.narrow(3, column, 1); };
  const at::Tensor first = entry(2) + entry(0) * 0.5 + entry(1) * 0.5;
  const at::Tensor numbers = at::cat({matrices.narrow(3, 0, 2), first}, 3);
  const at::Tensor fixed = (numbers * kFixedOne + 0.5).floor().to(at::kLong);
  const auto [fixed_x, fixed_y] = coordinates(fixed, images, 0);
  const at::Tensor x = fixed_x.__rshift__(kFixedBits), y = fixed_y.__rshift__(kFixedBits);
  const at::Tensor column = x.clamp(0, images.size(3) - 1), line = y.clamp(0, images.size(2) - 1);
  return {(line * images.size(3) + column).flatten(2), at::logical_or(column.ne(x), line.ne(y)), {}, {}};
}

/// In place where it can be, since these are the largest tensors of all.
inline Sources bilinear_sources(const at::Tensor& matrices, const at::Tensor& images) {
  const auto [x, y] = coordinates(matrices, images, 0.5);
  const auto is_outside = [](const at::Tensor& place, std::int64_t size) {
    return place.ne(place.clamp(0, std::nextafter(static_cast<double>(size), 0.0)));
  };
  const at::Tensor outside = at::logical_or(is_outside(x, images.size(3)), is_outside(y, images.size(2)));
  const at::Tensor beside = at::arange(2, images.options().dtype(at::kLong)).view({2, 1, 1});
  // The pixels on both sides, N×steps×2×H×W; `place` becomes the way from the first to the second.
  const auto split = [&](const at::Tensor& place, std::int64_t size) {
    const at::Tensor whole = place.sub_(0.5).floor();
    place.sub_(whole);
    return (whole.to(at::kLong).unsqueeze(2) + beside).clamp_(0, size - 1);
  };
  const at::Tensor columns = split(x, images.size(3)), lines = split(y, images.size(2)).mul_(images.size(3));
  return {(lines.unsqueeze(3) + columns.unsqueeze(2)).flatten(2), outside, x, y};
}

inline at::Tensor resampled_nearest(const at::Tensor& images, const Sources& sources, std::int64_t step,
                                    std::uint8_t fill) {
  const at::Tensor taken = images.flatten(2).gather(2, sources.places(step, images.size(1))).view_as(images);
  return taken.masked_fill_(sources.outside.select(1, step).unsqueeze(1), fill);
}

inline at::Tensor resampled_bilinear(const at::Tensor& images, const Sources& sources, std::int64_t step,
                                     std::uint8_t fill) {
  const auto of_step = [&](const at::Tensor& all) { return all.select(1, step).unsqueeze(1); };
  const auto between = [](const at::Tensor& a, const at::Tensor& b, const at::Tensor& part) {
    return (b - a).mul_(part).add_(a);
  };
  const at::Tensor corners = images.flatten(2)
                                 .gather(2, sources.places(step, images.size(1)))
                                 .to(at::kDouble)
                                 .view({images.size(0), images.size(1), 2, 2, images.size(2), images.size(3)});
  const at::Tensor lines = between(corners.select(3, 0), corners.select(3, 1), of_step(sources.across).unsqueeze(1));
  const at::Tensor result = between(lines.select(2, 0), lines.select(2, 1), of_step(sources.down)).to(at::kByte);
  return result.masked_fill_(of_step(sources.outside), fill);
}

/// The geometric steps of a choice.
class Moves {
 public:
  Moves(const at::Tensor& images, const Choice& choice, Interpolation interpolation, std::uint8_t fill)
      : interpolation_(interpolation), fill_(fill) {
    const at::Tensor matrices =
        affine_matrices(choice, images.size(2), images.size(3)).view({images.size(0), choice.steps(), 2, 3});
    sources_ = interpolation == Interpolation::kNearest ? nearest_sources(matrices, images)
                                                        : bilinear_sources(matrices, images);
  }

  at::Tensor apply(const at::Tensor& images, std::int64_t step) const {
    return interpolation_ == Interpolation::kNearest ? resampled_nearest(images, sources_, step, fill_)
                                                     : resampled_bilinear(images, sources_, step, fill_);
  }

 private:
  Interpolation interpolation_;
  std::uint8_t fill_;
  Sources sources_;
};

/// ImageOps.autocontrast of values in channels with these extremes, N×C×256.
inline at::Tensor stretching_tables(const at::Tensor& least, const at::Tensor& span, const at::Tensor& value) {
  const at::Tensor scale = at::div(at::scalar_tensor(255.0, at::kDouble), span.clamp_min(1));
  return (value * scale - least * scale).clamp_(0, 255).to(at::kByte);
}

/// The steps of a choice that look each pixel up in a table.
class Lookups {
 public:
  Lookups(const at::Tensor& images, const Choice& choice)
      : equalizes_(choice.possible.has(Operation::kEqualize)),
        stretches_(choice.possible.has(Operation::kAutocontrast)) {
    const auto of_values = [](const at::Tensor& of_sample) { return of_sample.unsqueeze(2).unsqueeze(3); };
    value_ = at::arange(256, images.options());
    tables_ = value_;
    if (choice.possible.has(Operation::kPosterize)) {
      const at::Tensor bits = at::where(choice.is(Operation::kPosterize), choice.magnitude, 8.0).to(at::kByte);
      const at::Tensor dropped = of_values(at::rsub(bits, 8));
      tables_ = tables_.__rshift__(dropped).__lshift__(dropped);
    }
    if (choice.possible.has(Operation::kSolarize) || choice.possible.has(Operation::kInvert)) {
      at::Tensor least_inverted = at::where(choice.is(Operation::kSolarize), choice.magnitude, 256.0);
      if (choice.possible.has(Operation::kInvert)) {
        least_inverted = at::where(choice.is(Operation::kInvert), 0.0, least_inverted);
      }
      tables_ = at::where(value_.lt(of_values(least_inverted)), tables_, at::rsub(tables_, 255));
    }
    tables_ = tables_.expand({choice.operation.size(0), choice.steps(), 1, 256});
    if (equalizes_) {
      is_equalize_ = of_values(choice.is(Operation::kEqualize));
      values_ = value_.expand({images.size(0), images.size(1), -1}).contiguous();
    }
    if (stretches_) is_autocontrast_ = of_values(choice.is(Operation::kAutocontrast));
  }

  at::Tensor apply(const at::Tensor& images, std::int64_t step) const {
    const at::Tensor pixels = images.flatten(2);
    const at::Tensor table = tables(pixels, step).expand({-1, images.size(1), -1});
    return table.gather(2, pixels.to(at::kLong)).view_as(images);
  }

 private:
  /// What each value becomes in each channel: uint8, N×C×256, or N×1×256 where no histogram counts.
  at::Tensor tables(const at::Tensor& pixels, std::int64_t step) const {
    at::Tensor result = tables_.select(1, step);
    at::Tensor sorted, least, greatest;
    if (equalizes_) {
      sorted = std::get<0>(pixels.sort(2));
      least = sorted.narrow(2, 0, 1);
      greatest = sorted.narrow(2, sorted.size(2) - 1, 1);
    } else if (stretches_) {
      std::tie(least, greatest) = at::aminmax(pixels, 2, /*keepdim=*/true);
    }
    if (stretches_) {
      const at::Tensor span = greatest - least;  // 0: as it is
      result = at::where(at::logical_and(is_autocontrast_.select(1, step), span),
                         stretching_tables(least, span, value_), result);
    }
    if (equalizes_) result = equalized(sorted, greatest, step, result);
    return result;
  }

  /// ImageOps.equalize, with the histogram summed up to each value found in the order of the pixels.
  at::Tensor equalized(const at::Tensor& sorted, const at::Tensor& greatest, std::int64_t step,
                       const at::Tensor& otherwise) const {
    const at::Tensor below = at::searchsorted(sorted, values_);
    const at::Tensor share = below.gather(2, greatest.to(at::kLong)).floor_divide(255);  // 0: as it is
    const at::Tensor sum = below + share.floor_divide(2);
    const at::Tensor table = sum.floor_divide(share.clamp_min(1)).clamp_max_(255).to(at::kByte);
    return at::where(at::logical_and(is_equalize_.select(1, step), share), table, otherwise);
  }

  bool equalizes_, stretches_;
  at::Tensor value_;                          ///< uint8, 256
  at::Tensor values_;                         ///< uint8, N×C×256
  at::Tensor tables_;                         ///< uint8, N×steps×1×256, of all but the two below
  at::Tensor is_equalize_, is_autocontrast_;  ///< bool, N×steps×1×1
};

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
  const auto three = [](const at::Tensor& all, std::int64_t dim, std::int64_t size) {
    return all.narrow(dim, 0, size) + all.narrow(dim, 1, size) + all.narrow(dim, 2, size);
  };
  const at::Tensor middle = images.narrow(2, 1, height - 2).narrow(3, 1, width - 2);
  const at::Tensor sum = three(three(images, 2, height - 2), 3, width - 2) + middle * 4;
  result.narrow(2, 1, height - 2).narrow(3, 1, width - 2).copy_((sum * 2 + 13).floor_divide(26));
  return result;
}

/// The steps of a choice that blend an image with another made of it.
class Blends {
 public:
  explicit Blends(const Choice& choice) : possible_(choice.possible) {
    const at::Tensor blends =
        at::arange(kFirst, static_cast<std::int64_t>(Operation::kSharpness) + 1, choice.operation.options());
    is_ = choice.operation.unsqueeze(2).eq(blends);
    factor_ = at::where(is_.any(2), choice.magnitude, 1.0).to(at::kFloat);
  }

  at::Tensor apply(const at::Tensor& images, std::int64_t step) const {
    const at::Tensor whole = images.to(at::kInt);
    at::Tensor base = at::zeros_like(whole);
    const auto put = [&](Operation operation, const auto& make) {
      if (!possible_.has(operation)) return;
      const at::Tensor is_chosen = is_.select(1, step).select(1, static_cast<std::int64_t>(operation) - kFirst);
      base = at::where(per_image(is_chosen), make(), base);
    };
    put(Operation::kColor, [&] { return grey_of(whole); });
    put(Operation::kContrast, [&] {
      const std::int64_t pixels = images.size(2) * images.size(3);
      const at::Tensor sum = grey_of(whole).sum({1, 2, 3}, /*keepdim=*/true);
      return (sum * 2 + pixels).floor_divide(2 * pixels).to(at::kInt);
    });
    put(Operation::kSharpness, [&] { return smooth_of(whole); });
    const at::Tensor change = (whole - base).to(at::kFloat) * per_image(factor_.select(1, step));
    return (base.to(at::kFloat) + change).clamp_(0, 255).to(at::kByte);
  }

 private:
  static constexpr auto kFirst = static_cast<std::int64_t>(Operation::kBrightness);

  OperationSet possible_;
  at::Tensor is_;      ///< bool, N×steps×4
  at::Tensor factor_;  ///< float, N×steps; 1 where nothing is blended, which is exact
};

/// Contiguous images that fit memory.
inline at::Tensor apply_at_once(const at::Tensor& images, const Choice& choice, Interpolation interpolation,
                                std::uint8_t fill) {
  std::optional<Lookups> lookups;
  std::optional<Moves> moves;
  std::optional<Blends> blends;
  if (choice.possible.has_any(&is_lookup)) lookups.emplace(images, choice);
  if (choice.possible.has_any(&is_geometric)) moves.emplace(images, choice, interpolation, fill);
  if (choice.possible.has_any(&is_blend)) blends.emplace(choice);
  at::Tensor result = images;
  for (std::int64_t step = 0; step < choice.steps(); ++step) {
    if (lookups) result = lookups->apply(result, step);
    if (moves) result = moves->apply(result, step);
    if (blends) result = blends->apply(result, step);
  }
  return result;
}

inline constexpr std::int64_t kBytesAtOnce = std::int64_t{1} << 30;

/// Takes about `bytes` of memory at most, and those of one image at least.
inline at::Tensor apply_by_tensor(const at::Tensor& images, const Choice& choice, Interpolation interpolation,
                                  std::uint8_t fill, std::int64_t bytes = kBytesAtOnce) {
  constexpr std::int64_t kBytesOfPixel = 64;  // four places of 8 bytes per step, four corners per channel, and results
  const std::int64_t of_image = kBytesOfPixel * (images.size(1) + choice.steps()) * images.size(2) * images.size(3);
  const std::int64_t count = std::max<std::int64_t>(1, bytes / of_image);
  std::vector<at::Tensor> parts;
  std::int64_t first = 0;
  do {
    const std::int64_t size = std::min(count, images.size(0) - first);
    const at::Tensor part = images.narrow(0, first, size).contiguous();
    parts.push_back(apply_at_once(part, choice.of(first, size), interpolation, fill));
    first += size;
  } while (first < images.size(0));
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

}  // namespace image_operations
