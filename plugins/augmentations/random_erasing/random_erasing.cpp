// Random erasing: Zhong et al., "Random erasing data augmentation", AAAI 2020, arXiv 1708.04896, Algorithm 1, as
// torchvision's RandomErasing has it.
//   augment = [{ type = "random_erasing", probability = 0.5, scale = [0.02, 0.33], ratio = [0.3, 3.3] }]
#include <ATen/ops/arange.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "../shared/boxes.h"
#include "../shared/noise.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"

namespace {

enum class Fill { kValue, kNoise };

constexpr std::int64_t kTries = 10;  // torchvision's

class RandomErasing final : public kd::Augmentation {
 public:
  struct Params {
    double probability = 0.5, value = 0;
    std::vector<double> scale, ratio;
    Fill fill = Fill::kValue;

    static void schema(kd::Schema<Params>& s) {
      s.field("probability", &Params::probability, "that a box is erased from an image").def(0.5).range(0, 1);
      s.field("scale", &Params::scale, "least and greatest share of the image's area in the box")
          .def(std::vector<double>{0.02, 0.33});
      s.field("ratio", &Params::ratio, "least and greatest height of the box over its width, uniform in the logarithm")
          .def(std::vector<double>{0.3, 3.3});
      s.choice("fill", &Params::fill, {{"value", Fill::kValue}, {"noise", Fill::kNoise}},
               "what the box is filled with: value, or standard normal noise, which wants normalised images")
          .def("value");
      s.field("value", &Params::value,
              "in the units of the images: 0 is black before 'normalize', and after it the mean of the data set")
          .def(0.0)
          .range(-255, 255);
    }
  };

  explicit RandomErasing(const Params& params) : params_(params) {
    check("scale", params.scale, 1);
    check("ratio", params.ratio, 1e6);
  }

  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    const std::int64_t height = batch.images.size(2), width = batch.images.size(3);
    const at::Tensor erased = boxes::inside(draw_boxes(batch.index, key, height, width), height, width);
    batch.change_images([&](const at::Tensor& images) {
      if (params_.fill == Fill::kValue) return images.masked_fill(erased, params_.value);
      if (images.scalar_type() == at::kByte) {
        throw kd::Error("random_erasing with fill = 'noise' must come after 'normalize'");
      }
      return at::where(erased, noise::normal_like(images, key.with("noise"), batch.index), images);
    });
  }

 private:
  static void check(const std::string& name, const std::vector<double>& bounds, double highest) {
    if (bounds.size() != 2 || !(bounds[0] > 0) || bounds[1] < bounds[0] || bounds[1] > highest) {
      throw kd::RecipeError(name + " must be two numbers above 0, the least first");
    }
  }

  /// The first box that fits of ten tries; empty where none does, or where nothing is to be erased.
  boxes::Boxes draw_boxes(const at::Tensor& index, kd::RandomKey key, std::int64_t height, std::int64_t width) const {
    const auto uniform = [&](const char* purpose, std::int64_t lanes) {
      return kd::random_uniform(key.with(purpose), index, lanes).to(at::kDouble);
    };
    const auto between = [](const at::Tensor& share, double low, double high) { return share * (high - low) + low; };
    const double pixels = static_cast<double>(height * width);
    const at::Tensor area = between(uniform("area", kTries), params_.scale[0], params_.scale[1]) * pixels;
    const at::Tensor ratio =
        between(uniform("ratio", kTries), std::log(params_.ratio[0]), std::log(params_.ratio[1])).exp();
    const at::Tensor rows = (area * ratio).sqrt().round().to(at::kLong);
    const at::Tensor columns = (area / ratio).sqrt().round().to(at::kLong);
    const at::Tensor fits = rows.lt(height).logical_and(columns.lt(width)).to(at::kLong);
    const at::Tensor first = (fits * at::arange(kTries, 0, -1, index.options())).argmax(1, /*keepdim=*/true);
    const at::Tensor erases = uniform("erases", 1).lt(params_.probability) * fits.gather(1, first);
    const auto edges = [&](const at::Tensor& sides, const char* purpose, std::int64_t size) {
      const at::Tensor side = (sides.gather(1, first) * erases).squeeze(1);
      const at::Tensor begin = (uniform(purpose, 1).squeeze(1) * (size - side + 1)).to(at::kLong);
      return std::pair(begin, begin + side);
    };
    const auto [top, bottom] = edges(rows, "top", height);
    const auto [left, right] = edges(columns, "left", width);
    return {top, bottom, left, right};
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "random_erasing", RandomErasing,
            "erases a random box of some images (Zhong et al., 2020; torchvision)")
