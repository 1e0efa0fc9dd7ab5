// RandAugment: Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space", arXiv
// 1909.13719, with the operations and magnitudes of torchvision.
//   augment = [{ type = "rand_augment", count = 2, magnitude = 9, bins = 31 }]
#include <ATen/ops/full.h>

#include "../shared/apply_operations.h"
#include "../shared/magnitude_bins.h"
#include "../shared/resampling_parameters.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"

namespace {

using image_operations::Strength;

/// Of a level in [0, 1]. AutoAugment moves ImageNet's images of 331 pixels by up to 150.
std::vector<Strength> strengths(const kd::DataInfo& data) {
  constexpr double kTranslation = 150.0 / 331;
  return image_operations::binned_strengths({.shear = 0.3,
                                             .translate_x = kTranslation * static_cast<double>(data.width),
                                             .translate_y = kTranslation * static_cast<double>(data.height),
                                             .degrees = 30,
                                             .enhancement = 0.9,
                                             .lost_bits = 4});
}

class RandAugment final : public kd::Augmentation {
 public:
  struct Params {
    std::int64_t count = 2, magnitude = 9, bins = 31, fill = 0;
    image_operations::Interpolation interpolation = image_operations::Interpolation::kNearest;
    std::vector<std::string> operations;

    static void schema(kd::Schema<Params>& s) {
      s.field("count", &Params::count, "operations, one after another, on each image (the paper's N)")
          .def(2)
          .range(1, 16);
      s.field("magnitude", &Params::magnitude, "strength of every operation, 0 to bins − 1 (the paper's M)")
          .def(9)
          .range(0, 1000);
      s.field("bins", &Params::bins, "number of strengths; the last is the greatest").def(31).range(2, 1001);
      image_operations::declare_interpolation(s, "nearest");
      image_operations::declare_fill(s);
      image_operations::declare_operations(s, strengths({}), image_operations::kPublishedOperations);
    }
  };

  RandAugment(const Params& params, const Context& context)
      : params_(params), table_(image_operations::chosen_rows(strengths(context.data), params.operations)) {
    if (params.magnitude >= params.bins) throw kd::RecipeError("magnitude must be below bins");
  }

  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    const double share = static_cast<double>(params_.magnitude) / static_cast<double>(params_.bins - 1);
    const at::Tensor level = at::full({batch.size(), params_.count}, share, batch.index.options().dtype(at::kDouble));
    image_operations::change_batch(batch, table_.draw(key, batch.index, level), params_.interpolation, params_.fill,
                                   "rand_augment");
  }

 private:
  const Params params_;
  const image_operations::OperationTable table_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "rand_augment", RandAugment,
            "a few random operations of one strength on each image (Cubuk et al., 2020)")
