// Mirrors images left to right at random.
//   augment = [{ type = "horizontal_flip", probability = 0.5 }]
#include <ATen/TensorOperators.h>

#include "flip.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"

namespace {

class HorizontalFlip final : public kd::Augmentation {
 public:
  struct Params {
    double probability = 0.5;

    static void schema(kd::Schema<Params>& s) {
      s.field("probability", &Params::probability, "that an image is mirrored").def(0.5).range(0, 1);
    }
  };

  explicit HorizontalFlip(const Params& params) : params_(params) {}

  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    const at::Tensor mirrored = flips(batch.index, key);
    batch.change_images([&](const at::Tensor& images) { return mirror(images, mirrored); });
  }

  std::int64_t views() const override { return 2; }

  at::Tensor view_numbers(const at::Tensor& index, kd::RandomKey key) const override {
    return flips(index, key).to(at::kLong);
  }

 private:
  /// Whether each sample is mirrored.
  at::Tensor flips(const at::Tensor& index, kd::RandomKey key) const {
    return kd::random_uniform(key, index, 1).squeeze(1) < params_.probability;
  }

  static at::Tensor mirror(const at::Tensor& images, const at::Tensor& flips) {
    return images.is_cpu() ? flip::flip_by_copy(images, flips) : flip::flip_by_choice(images, flips);
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "horizontal_flip", HorizontalFlip, "mirrors images left to right at random")
