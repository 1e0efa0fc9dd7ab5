// contact_sheet.h
#include "data/contact_sheet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace kd {
namespace {

constexpr std::int64_t kZoom = 3;  // an image of 32 pixels is small on today's screens
constexpr std::int64_t kBarHeight = 4, kGap = 4;
constexpr int kBackground = 255, kBarEmpty = 200, kBarFull = 40;

/// Undoes what the chain does in evaluation, which is affine in each channel: black and white show how.
class Normalisation {
 public:
  Normalisation(const AugmentationChain& augmentations, const DataInfo& info) {
    const at::Tensor black = at::zeros({1, info.channels, info.height, info.width}, at::kByte);
    shift_ = augmentations.apply_in_evaluation(black).select(0, 0).select(1, 0).select(1, 0);
    const at::Tensor white = augmentations.apply_in_evaluation(black + 255).select(0, 0).select(1, 0).select(1, 0);
    scale_ = white - shift_;
  }

  /// uint8 images as a screen shows them.
  at::Tensor undo(const at::Tensor& images) const {
    const at::Tensor pixels = (images.cpu() - shift_.view({1, -1, 1, 1})) / scale_.view({1, -1, 1, 1});
    return (pixels * 255).round().clamp(0, 255).to(at::kByte);
  }

 private:
  at::Tensor shift_, scale_;  // per channel
};

at::Tensor enlarge(const at::Tensor& image) { return image.repeat_interleave(kZoom, 1).repeat_interleave(kZoom, 2); }

/// The sheet as it grows, tile by tile.
class Sheet {
 public:
  Sheet(const DataInfo& info, std::int64_t rows, std::int64_t columns)
      : height_(info.height * kZoom + kBarHeight + kGap),
        width_(info.width * kZoom + kGap),
        picture_(at::full({info.channels, rows * height_ + kGap, columns * width_ + kGap}, kBackground, at::kByte)) {}

  void place(const at::Tensor& image, std::int64_t row, std::int64_t column) {
    const at::Tensor large = enlarge(image);
    area(row, column, 0, large.size(1), large.size(2)).copy_(large);
  }

  void place_bar(double share, std::int64_t row, std::int64_t column) {
    const std::int64_t whole = width_ - kGap;
    area(row, column, height_ - kGap - kBarHeight + 1, kBarHeight - 1, whole).fill_(kBarEmpty);
    area(row, column, height_ - kGap - kBarHeight + 1, kBarHeight - 1, std::llround(share * static_cast<double>(whole)))
        .fill_(kBarFull);
  }

  const at::Tensor& picture() const { return picture_; }

 private:
  at::Tensor area(std::int64_t row, std::int64_t column, std::int64_t below, std::int64_t height, std::int64_t width) {
    return picture_.narrow(1, row * height_ + kGap + below, height).narrow(2, column * width_ + kGap, width);
  }

  std::int64_t height_, width_;
  at::Tensor picture_;
};

}  // namespace

ContactSheet make_contact_sheet(const TrainingData& data, const AugmentationChain& augmentations, RandomKey key,
                                std::int64_t rows, std::int64_t columns) {
  rows = std::min(rows, data.train.samples());
  const SampleIndex index = data.train.on_both(at::arange(rows, at::TensorOptions().dtype(at::kLong)));
  const Normalisation normalisation(augmentations, data.info);
  const auto views = static_cast<std::int64_t>(augmentations.view_names().size());
  Sheet sheet(data.info, rows, 1 + columns * (1 + views));
  ContactSheet result;
  const at::Tensor stored = data.train.images(0, rows).cpu();
  for (std::int64_t row = 0; row < rows; ++row) sheet.place(stored[row], row, 0);
  for (std::int64_t epoch = 0; epoch < columns; ++epoch) {
    const Batch batch = augmentations.make_batch(data.train, index, key.with(static_cast<std::uint64_t>(epoch)));
    const std::int64_t column = 1 + epoch * (1 + views);
    const at::Tensor images = normalisation.undo(batch.images);
    const auto label_name = [&](const at::Tensor& label) {
      const auto c = label.item<std::int64_t>();
      return c < 0 ? std::string("unlabelled") : data.info.class_names[static_cast<std::size_t>(c)];
    };
    for (std::int64_t row = 0; row < rows; ++row) {
      sheet.place(images[row], row, column);
      if (!batch.targets.mixed()) continue;
      const auto weight = batch.targets.weight[row].item<double>();
      sheet.place_bar(weight, row, column);
      if (weight < 1)
        result.mixed.push_back(
            {row, column, weight, label_name(batch.targets.labels[row]), label_name(batch.targets.partner[row])});
    }
    for (std::int64_t view = 0; view < views; ++view) {
      const at::Tensor shown = normalisation.undo(batch.extra_views[static_cast<std::size_t>(view)].images);
      for (std::int64_t row = 0; row < rows; ++row) sheet.place(shown[row], row, column + 1 + view);
    }
  }
  result.picture = sheet.picture();
  return result;
}

}  // namespace kd
