// Brings images of any size to one: the shorter side resized and the middle cut out, as torchvision's Resize and
// CenterCrop do, or the whole image stretched.
//   augment = [{ type = "resize", size = 96 }, { type = "horizontal_flip" }, { type = "normalize" }]
#include <string>

#include "center.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"

namespace {

enum class Fit { kCrop, kStretch };

class Resize final : public kd::Sizing {
 public:
  struct Params {
    std::int64_t size = 224;
    std::int64_t crop = 0;
    Fit fit = Fit::kCrop;
    kd::Interpolation interpolation = kd::Interpolation::kBilinear;

    static void schema(kd::Schema<Params>& s) {
      s.field("size", &Params::size, "pixels of the shorter side, or of both where the image is stretched")
          .def(224)
          .range(1, 8192);
      s.field("crop", &Params::crop, "pixels of both sides of the middle that is cut out then; 0: as `size`")
          .def(0)
          .range(0, 8192);
      s.choice("fit", &Params::fit, {{"crop", Fit::kCrop}, {"stretch", Fit::kStretch}},
               "crop: keeps the ratio of the sides and cuts; stretch: changes the ratio")
          .def("crop");
      center::declare_interpolation(s);
    }
  };

  explicit Resize(const Params& params) : params_(params) {
    if (params.crop > params.size)
      throw kd::RecipeError("crop = " + std::to_string(params.crop) +
                            " is more than size = " + std::to_string(params.size));
    if (params.fit == Fit::kStretch && params.crop > 0 && params.crop < params.size)
      throw kd::RecipeError("fit = \"stretch\" cuts nothing: leave 'crop' out");
  }

  kd::ImageExtent extent() const override { return {side(), side()}; }
  bool is_random() const override { return false; }
  at::Tensor size_in_training(const at::Tensor& image, kd::RandomKey) const override {
    return size_in_evaluation(image);
  }
  at::Tensor size_in_evaluation(const at::Tensor& image) const override {
    if (params_.fit == Fit::kStretch) return kd::resize_image(image, params_.size, params_.size, params_.interpolation);
    return center::view(image, params_.size, side(), params_.interpolation);
  }

 private:
  std::int64_t side() const { return params_.crop > 0 ? params_.crop : params_.size; }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "resize", Resize,
            "images of any size to one: the shorter side resized, the middle cut out; the first of a list")
