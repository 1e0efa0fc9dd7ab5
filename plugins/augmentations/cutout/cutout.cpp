// Cutout: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", arXiv 1708.04552.
//   augment = [{ type = "cutout", holes = 1, side = 16, fill = 0.0 }]
#include <ATen/ops/full_like.h>

#include "../shared/boxes.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"

namespace {

class Cutout final : public kd::Augmentation {
 public:
  struct Params {
    std::int64_t holes = 1, side = 16;
    double fill = 0;

    static void schema(kd::Schema<Params>& s) {
      s.field("holes", &Params::holes, "squares that are cut out of each image, which may overlap").def(1).range(1, 64);
      s.field("side", &Params::side,
              "of a square, in pixels; it is clipped at the border. Published: 16 on CIFAR-10, 8 on CIFAR-100")
          .def(16)
          .range(1, 1024);
      s.field("fill", &Params::fill,
              "value of the holes in the units of the images: after 'normalize' 0 is the mean of the data set, as "
              "published; before it, 0 is black")
          .def(0.0)
          .range(-255, 255);
    }
  };

  explicit Cutout(const Params& params) : params_(params) {}

  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    const std::int64_t height = batch.images.size(2), width = batch.images.size(3);
    const at::Tensor side = at::full_like(batch.index, params_.side);
    at::Tensor cut;
    for (std::int64_t hole = 0; hole < params_.holes; ++hole) {
      const auto box = boxes::around_random_pixels(key.with(static_cast<std::uint64_t>(hole)), batch.index, side, side,
                                                   height, width);
      const at::Tensor inside = boxes::inside(box, height, width);
      cut = hole == 0 ? inside : cut.logical_or(inside);
    }
    batch.change_images([&](const at::Tensor& images) { return images.masked_fill(cut, params_.fill); });
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "cutout", Cutout, "cuts random squares out of the images (DeVries and Taylor, 2017)")
