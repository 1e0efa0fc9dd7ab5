// The augmentation "KD_NAME_HERE": makes each image brighter or darker by a random amount.
// Say here what yours does, and cite the paper that it comes from.
#include "kd/augmentation.h"

#include <ATen/TensorOperators.h>

#include "kd/plugin.h"
#include "kd/random_tensors.h"

namespace {

class KdClassHere final : public kd::Augmentation {
 public:
  // What recipes can set. Every parameter has its meaning, and a default unless the recipe must give it.
  struct Params {
    double strength = 0.1;

    static void schema(kd::Schema<Params>& s) {
      s.field("strength", &Params::strength, "largest shift, of pixels in [0, 1]").def(0.1).range(0, 1);
    }
  };

  explicit KdClassHere(const Params& params) : params_(params) {}

  // The whole batch at once, on its device. Random numbers follow from the key and the samples' numbers alone, so that
  // a run can be repeated and resumed exactly; a second column of numbers would be lanes = 2.
  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    const at::Tensor uniform = kd::random_uniform(key, batch.index, /*lanes=*/1);
    const at::Tensor shift = ((uniform * 2 - 1) * params_.strength).view({-1, 1, 1, 1});
    batch.images = (kd::to_float(batch.images) + shift).clamp(0, 1);
  }

 private:
  const Params params_;
};

}  // namespace

// Recipes find the class under this name: augment = [{ type = "KD_NAME_HERE", strength = 0.2 }].
KD_REGISTER(kd::Augmentation, "KD_NAME_HERE", KdClassHere, "random brightness")
