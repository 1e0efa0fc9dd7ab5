// Adds normal noise to every pixel.
//   augment = [{ type = "gaussian_noise", deviation = 0.05, clip = false }]
#include <ATen/TensorOperators.h>

#include "../shared/noise.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"

namespace {

class GaussianNoise final : public kd::Augmentation {
 public:
  struct Params {
    double deviation = 0.05;
    bool clip = false;

    static void schema(kd::Schema<Params>& s) {
      s.field("deviation", &Params::deviation,
              "of the noise, in the units of float images: before 'normalize', pixels are in [0, 1]")
          .def(0.05)
          .at_least(0);
      s.field("clip", &Params::clip, "whether the result is kept within [0, 1]; only before 'normalize'").def(false);
    }
  };

  explicit GaussianNoise(const Params& params) : params_(params) {}

  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    const at::Tensor noise = noise::normal_like(batch.images, key, batch.index) * params_.deviation;
    batch.change_images([&](const at::Tensor& images) {
      const at::Tensor noisy = kd::to_float(images) + noise;
      return params_.clip ? noisy.clamp(0, 1) : noisy;
    });
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "gaussian_noise", GaussianNoise, "adds normal noise to every pixel")
