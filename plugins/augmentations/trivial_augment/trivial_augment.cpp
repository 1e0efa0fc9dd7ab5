// TrivialAugment: Müller and Hutter, "TrivialAugment: Tuning-free yet state-of-the-art data augmentation", ICCV 2021,
// arXiv 2103.10158, with the wide magnitudes of torchvision's TrivialAugmentWide.
//   augment = [{ type = "trivial_augment", bins = 31, interpolation = "nearest", fill = 0 }]
#include "../shared/apply_operations.h"
#include "../shared/magnitude_bins.h"
#include "../shared/resampling_parameters.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"

namespace {

/// Of a level in [0, 1].
std::vector<image_operations::Strength> strengths() {
  return image_operations::binned_strengths(
      {.shear = 0.99, .translate_x = 32, .translate_y = 32, .degrees = 135, .enhancement = 0.99, .lost_bits = 6});
}

class TrivialAugment final : public kd::Augmentation {
 public:
  struct Params {
    std::int64_t bins = 31, fill = 0;
    image_operations::Interpolation interpolation = image_operations::Interpolation::kNearest;
    std::vector<std::string> operations;

    static void schema(kd::Schema<Params>& s) {
      s.field("bins", &Params::bins, "number of strengths, one of which is drawn; the last is the greatest")
          .def(31)
          .range(2, 1001);
      image_operations::declare_interpolation(s, "nearest");
      image_operations::declare_fill(s);
      image_operations::declare_operations(s, strengths(), image_operations::kPublishedOperations);
    }
  };

  explicit TrivialAugment(const Params& params)
      : params_(params), table_(image_operations::chosen_rows(strengths(), params.operations)) {}

  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    const at::Tensor bin = kd::random_below(key.with("bin"), batch.index, 1, params_.bins);
    const at::Tensor level = bin.to(at::kDouble) / static_cast<double>(params_.bins - 1);
    image_operations::change_batch(batch, table_.draw(key, batch.index, level), params_.interpolation, params_.fill,
                                   "trivial_augment");
  }

 private:
  const Params params_;
  const image_operations::OperationTable table_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "trivial_augment", TrivialAugment,
            "one random operation of random strength on each image (Müller and Hutter, 2021)")
