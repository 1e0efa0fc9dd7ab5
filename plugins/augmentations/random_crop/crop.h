// Two ways to the same bytes: a padded image shifted by a numbered offset, in a loop on the CPU or by indexing on any
// device.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/index.h>

#include <algorithm>
#include <cstring>

namespace crop {

/// Number of places along one side at which an image can be cut out of its padded self.
inline std::int64_t places(std::int64_t padding) { return 2 * padding + 1; }

/// Images N×C×H×W cut at row number / places and column number % places of the padded images; `number` is int64, N.
inline at::Tensor crop_by_rows(const at::Tensor& images, const at::Tensor& number, std::int64_t padding, double fill) {
  const at::Tensor source = images.contiguous();
  const at::Tensor numbers = number.contiguous();
  const at::Tensor result = at::full_like(source, fill);
  const std::int64_t channels = source.size(1), height = source.size(2), width = source.size(3);
  const std::int64_t pixel = source.element_size();
  const auto* from = static_cast<const char*>(source.const_data_ptr());
  auto* to = static_cast<char*>(result.mutable_data_ptr());
  const std::int64_t* cuts = numbers.const_data_ptr<std::int64_t>();
  constexpr std::int64_t kBytesPerTask = 1 << 16;
  const std::int64_t grain = std::max<std::int64_t>(1, kBytesPerTask / (channels * height * width * pixel));
  at::parallel_for(0, source.size(0), grain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int64_t down = cuts[n] / places(padding) - padding;
      const std::int64_t right = cuts[n] % places(padding) - padding;
      const std::int64_t top = std::max<std::int64_t>(0, -down), bottom = std::min(height, height - down);
      const std::int64_t left = std::max<std::int64_t>(0, -right), end_column = std::min(width, width - right);
      if (left >= end_column) continue;
      const auto bytes = static_cast<std::size_t>((end_column - left) * pixel);
      for (std::int64_t c = 0; c < channels; ++c) {
        for (std::int64_t row = top; row < bottom; ++row) {
          const std::int64_t first = ((n * channels + c) * height + row) * width + left;
          std::memcpy(to + first * pixel, from + (first + down * width + right) * pixel, bytes);
        }
      }
    }
  });
  return result;
}

/// The same by tensor operations: a view of all cuts of every padded image, of which one each is picked.
inline at::Tensor crop_by_index(const at::Tensor& images, const at::Tensor& number, std::int64_t padding, double fill) {
  const at::Tensor padded = at::constant_pad_nd(images, {padding, padding, padding, padding}, fill);
  const at::Tensor cuts = padded.unfold(2, images.size(2), 1).unfold(3, images.size(3), 1);
  const at::Tensor sample = at::arange(images.size(0), number.options());
  c10::List<std::optional<at::Tensor>> place;
  place.push_back(sample);
  place.push_back(std::nullopt);
  place.push_back(number.floor_divide(places(padding)));
  place.push_back(number.remainder(places(padding)));
  return at::index(cuts, place);
}

}  // namespace crop
