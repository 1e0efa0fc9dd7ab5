// A part of random size, ratio and place of an image of any size, resized to one: Szegedy et al., arXiv 1409.4842, §6,
// with the tries and the fallback of torchvision's RandomResizedCrop. In evaluation the shorter side is resized and the
// middle cut out.
//   augment = [{ type = "random_resized_crop", size = 96 }, { type = "horizontal_flip" }, { type = "normalize" }]
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "../resize/center.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"

namespace {

constexpr int kTries = 10;

struct Box {
  std::int64_t top = 0;
  std::int64_t left = 0;
  kd::ImageExtent extent;
};

class RandomResizedCrop final : public kd::Sizing {
 public:
  struct Params {
    std::int64_t size = 224;
    std::vector<double> scale, ratio;
    std::int64_t evaluation_size = 0;
    kd::Interpolation interpolation = kd::Interpolation::kBilinear;

    static void schema(kd::Schema<Params>& s) {
      s.field("size", &Params::size, "pixels of both sides").def(224).range(1, 8192);
      s.field("scale", &Params::scale, "least and greatest share of the image's area")
          .def(std::vector<double>{0.08, 1.0})
          .range(1e-6, 1);
      s.field("ratio", &Params::ratio, "least and greatest width by height")
          .def(std::vector<double>{3.0 / 4, 4.0 / 3})
          .range(1e-3, 1e3);
      s.field("evaluation_size", &Params::evaluation_size,
              "pixels of the shorter side in evaluation, before the middle is cut out; 0: 8/7 of `size`")
          .def(0)
          .range(0, 16384);
      center::declare_interpolation(s);
    }
  };

  explicit RandomResizedCrop(const Params& params) : params_(params) {
    for (const auto& [name, range] : {std::pair("scale", params.scale), std::pair("ratio", params.ratio)}) {
      if (range.size() != 2 || range[0] > range[1])
        throw kd::RecipeError("'" + std::string(name) + "' must be [least, greatest]");
    }
    if (params.evaluation_size > 0 && params.evaluation_size < params.size) {
      throw kd::RecipeError("evaluation_size = " + std::to_string(params.evaluation_size) +
                            " is less than size = " + std::to_string(params.size));
    }
  }

  kd::ImageExtent extent() const override { return {params_.size, params_.size}; }
  bool is_random() const override { return true; }
  at::Tensor size_in_training(const at::Tensor& image, kd::RandomKey key) const override {
    const Box box = choose({image.size(1), image.size(2)}, key.with("crop"));
    return kd::resize_image(center::cut(image, box.top, box.left, box.extent), params_.size, params_.size,
                            params_.interpolation);
  }
  at::Tensor size_in_evaluation(const at::Tensor& image) const override {
    const std::int64_t shorter =
        params_.evaluation_size > 0 ? params_.evaluation_size : std::lrint(static_cast<double>(params_.size) * 8 / 7);
    return center::view(image, shorter, params_.size, params_.interpolation);
  }

 private:
  Box choose(kd::ImageExtent image, kd::RandomKey key) const {
    const auto area = static_cast<double>(image.height * image.width);
    const auto between = [&](double low, double high, std::uint64_t counter) {
      return low + (high - low) * static_cast<double>(kd::random_uniform(key, counter));
    };
    for (std::uint64_t i = 0; i < kTries; ++i) {
      const double wanted = area * between(params_.scale[0], params_.scale[1], 4 * i);
      const double ratio = std::exp(between(std::log(params_.ratio[0]), std::log(params_.ratio[1]), 4 * i + 1));
      const std::int64_t width = std::lrint(std::sqrt(wanted * ratio));
      const std::int64_t height = std::lrint(std::sqrt(wanted / ratio));
      if (width < 1 || height < 1 || width > image.width || height > image.height) continue;
      const auto place = [&](std::int64_t free, std::uint64_t counter) {
        return static_cast<std::int64_t>(kd::random_below(key, counter, static_cast<std::uint32_t>(free + 1)));
      };
      return {place(image.height - height, 4 * i + 2), place(image.width - width, 4 * i + 3), {height, width}};
    }
    return middle(image);
  }

  /// The greatest part in the middle whose ratio is allowed, but at least a pixel.
  Box middle(kd::ImageExtent image) const {
    kd::ImageExtent extent = image;
    const double ratio = static_cast<double>(image.width) / static_cast<double>(image.height);
    if (ratio < params_.ratio[0])
      extent.height = std::max<std::int64_t>(1, std::lrint(static_cast<double>(image.width) / params_.ratio[0]));
    if (ratio > params_.ratio[1])
      extent.width = std::max<std::int64_t>(1, std::lrint(static_cast<double>(image.height) * params_.ratio[1]));
    return {(image.height - extent.height) / 2, (image.width - extent.width) / 2, extent};
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "random_resized_crop", RandomResizedCrop,
            "a random part of an image of any size, resized to one; the first of a list")
