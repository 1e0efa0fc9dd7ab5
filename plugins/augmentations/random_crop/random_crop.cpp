// Padding and a random crop back to the original size, the usual augmentation of CIFAR: He et al., arXiv 1512.03385,
// §4.2.
//   augment = [{ type = "random_crop", padding = 4, fill = 0.0 }]
#include <ATen/TensorOperators.h>

#include "crop.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"

namespace {

class RandomCrop final : public kd::Augmentation {
 public:
  struct Params {
    std::int64_t padding = 4;
    double fill = 0;

    static void schema(kd::Schema<Params>& s) {
      s.field("padding", &Params::padding, "pixels added on each side before the crop").def(4).range(0, 1024);
      s.field("fill", &Params::fill, "value of the added pixels, in the units of the images: 0 to 255 for bytes")
          .def(0.0)
          .range(0, 255);
    }
  };

  explicit RandomCrop(const Params& params) : params_(params) {}

  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    const at::Tensor number = view_numbers(batch.index, key);
    batch.change_images([&](const at::Tensor& images) { return crop(images, number); });
  }

  std::int64_t views() const override { return crop::places(params_.padding) * crop::places(params_.padding); }

  at::Tensor view_numbers(const at::Tensor& index, kd::RandomKey key) const override {
    return kd::random_below(key, index, 1, views()).squeeze(1);
  }

 private:
  at::Tensor crop(const at::Tensor& images, const at::Tensor& number) const {
    return images.is_cpu() ? crop::crop_by_rows(images, number, params_.padding, params_.fill)
                           : crop::crop_by_index(images, number, params_.padding, params_.fill);
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "random_crop", RandomCrop, "pads the images and cuts them back to size at a random place")
