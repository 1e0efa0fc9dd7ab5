// Turns images about their middle by a random angle, as torchvision's RandomRotation does to PIL images.
//   augment = [{ type = "random_rotation", degrees = 15.0, interpolation = "nearest", fill = 0 }]
#include <ATen/ops/full.h>

#include "../shared/apply_operations.h"
#include "../shared/resampling_parameters.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"

namespace {

class RandomRotation final : public kd::Augmentation {
 public:
  struct Params {
    double degrees = 15;
    image_operations::Interpolation interpolation = image_operations::Interpolation::kNearest;
    std::int64_t fill = 0;

    static void schema(kd::Schema<Params>& s) {
      s.field("degrees", &Params::degrees, "the angle is uniform from −degrees to degrees").def(15.0).range(0, 180);
      image_operations::declare_interpolation(s, "nearest");
      image_operations::declare_fill(s);
    }
  };

  explicit RandomRotation(const Params& params) : params_(params) {}

  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    constexpr auto kRotate = image_operations::Operation::kRotate;
    const at::Tensor uniform = kd::random_uniform(key, batch.index, 1).to(at::kDouble);
    const at::Tensor rotate = at::full({batch.size(), 1}, static_cast<std::int64_t>(kRotate), batch.index.options());
    const image_operations::Choice choice{rotate, (uniform * 2 - 1) * params_.degrees, {kRotate}};
    image_operations::change_batch(batch, choice, params_.interpolation, params_.fill, "random_rotation");
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "random_rotation", RandomRotation, "turns images about their middle by a random angle")
