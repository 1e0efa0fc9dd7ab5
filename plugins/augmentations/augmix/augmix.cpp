// AugMix: Hendrycks et al., "AugMix: A simple data processing method to improve robustness and uncertainty", ICLR 2020,
// arXiv 1912.02781, Algorithm 1, with the operations of the published code (google-research/augmix).
//
// The published code mixes normalised images. The weights sum to 1 and normalisation is affine, so that mixing before
// 'normalize' gives the same.
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "../shared/apply_operations.h"
#include "../shared/operation_table.h"
#include "../shared/resampling_parameters.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"

namespace {

using image_operations::Operation;
using image_operations::Rounding;

constexpr double kHighestLevel = 10, kLowestDrawn = 0.1;
constexpr std::int64_t kGreatestRandomDepth = 3;
constexpr std::size_t kPublishedOperations = 9;

/// Of a level in [0, 10]. The four after the published nine overlap with the corruptions of CIFAR-C; the published code
/// has them behind a flag.
std::vector<image_operations::Strength> strengths(const kd::DataInfo& data) {
  constexpr double kPer = 1 / kHighestLevel;
  constexpr Rounding kNone = Rounding::kNone, kTowardsZero = Rounding::kTowardsZero;
  const double right = static_cast<double>(data.width) / 3, down = static_cast<double>(data.height) / 3;
  return {
      {"autocontrast", Operation::kAutocontrast, 0, 0},
      {"equalize", Operation::kEqualize, 0, 0},
      {"posterize", Operation::kPosterize, 4, -4 * kPer, kTowardsZero},
      {"rotate", Operation::kRotate, 0, 30 * kPer, kTowardsZero, true},
      {"solarize", Operation::kSolarize, 256, -256 * kPer, kTowardsZero},
      {"shear_x", Operation::kShearX, 0, 0.3 * kPer, kNone, true},
      {"shear_y", Operation::kShearY, 0, 0.3 * kPer, kNone, true},
      {"translate_x", Operation::kTranslateX, 0, right * kPer, kTowardsZero, true},
      {"translate_y", Operation::kTranslateY, 0, down * kPer, kTowardsZero, true},
      {"color", Operation::kColor, 0.1, 1.8 * kPer},
      {"contrast", Operation::kContrast, 0.1, 1.8 * kPer},
      {"brightness", Operation::kBrightness, 0.1, 1.8 * kPer},
      {"sharpness", Operation::kSharpness, 0.1, 1.8 * kPer},
      {"invert", Operation::kInvert, 0, 0},
      {"identity", Operation::kIdentity, 0, 0},
  };
}

class AugMix final : public kd::Augmentation {
 public:
  struct Params {
    double severity = 3, concentration = 1;
    std::int64_t width = 3, depth = -1, fill = 0;
    bool consistency = true;
    image_operations::Interpolation interpolation = image_operations::Interpolation::kBilinear;
    std::vector<std::string> operations;

    static void schema(kd::Schema<Params>& s) {
      s.field("severity", &Params::severity, "the level of each operation is uniform from 0.1 to this, of 10 at most")
          .def(3.0)
          .range(kLowestDrawn, kHighestLevel);
      s.field("width", &Params::width, "number of chains that are mixed").def(3).range(1, 16);
      s.field("depth", &Params::depth, "operations of each chain; −1: 1, 2 or 3 at random").def(-1).range(-1, 16);
      s.field("concentration", &Params::concentration,
              "of the mixing weights: Dirichlet over the chains, beta between image and chains (aug_prob_coeff of the "
              "published code)")
          .def(1.0)
          .above(0);
      s.field(
           "consistency", &Params::consistency,
           "true: images stay as they are and two mixtures of each are added as the views augmix_1 and augmix_2, for "
           "a consistency loss (the published training); false: a mixture replaces each image")
          .def(true);
      image_operations::declare_interpolation(s, "bilinear");
      image_operations::declare_fill(s);
      image_operations::declare_operations(s, strengths({}), kPublishedOperations);
    }
  };

  AugMix(const Params& params, const Context& context)
      : params_(params), table_(image_operations::chosen_rows(strengths(context.data), params.operations)) {
    if (params.depth == 0) throw kd::RecipeError("depth must be −1, or 1 and above");
  }

  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    if (!params_.consistency) {
      batch.change_images([&](const at::Tensor& images) { return mixture(images, batch.index, key); });
      return;
    }
    for (const std::string& name : view_names()) {
      batch.extra_views.push_back({name, mixture(batch.images, batch.index, key.with(name))});
    }
  }

  std::int64_t views() const override { return params_.consistency ? 1 : 0; }

  std::vector<std::string> view_names() const override {
    return params_.consistency ? std::vector<std::string>{"augmix_1", "augmix_2"} : std::vector<std::string>{};
  }

 private:
  /// (1 − m) · x + m · Σ w_i · chain_i(x).
  at::Tensor mixture(const at::Tensor& images, const at::Tensor& index, kd::RandomKey key) const {
    image_operations::require_bytes(images, "augmix");
    const at::Tensor original = kd::to_float(images);
    at::Tensor sum = at::zeros_like(original);
    at::Tensor rest = index.to(at::kFloat) * 0 + 1;
    for (std::int64_t i = 0; i < params_.width; ++i) {
      const kd::RandomKey chain_key = key.with("chain").with(static_cast<std::uint64_t>(i));
      const at::Tensor weight = rest * share_of_rest(chain_key, index, params_.width - 1 - i);
      rest = rest - weight;
      sum = sum + kd::to_float(chain(images, index, chain_key)) * image_operations::per_image(weight);
    }
    const double a = params_.concentration;
    const at::Tensor mixed = image_operations::per_image(kd::random_beta(key.with("mix"), index, a, a));
    return original * (1 - mixed) + sum * mixed;
  }

  /// Dirichlet weights by breaking a stick: each takes a beta share of what is left for it and `others` after it.
  at::Tensor share_of_rest(kd::RandomKey key, const at::Tensor& index, std::int64_t others) const {
    if (others == 0) return index.to(at::kFloat) * 0 + 1;
    const double a = params_.concentration;
    return kd::random_beta(key.with("weight"), index, a, a * static_cast<double>(others));
  }

  at::Tensor chain(at::Tensor images, const at::Tensor& index, kd::RandomKey key) const {
    const bool random_depth = params_.depth < 0;
    const std::int64_t deepest = random_depth ? kGreatestRandomDepth : params_.depth;
    const at::Tensor depth = kd::random_below(key.with("depth"), index, 1, kGreatestRandomDepth).squeeze(1) + 1;
    for (std::int64_t i = 0; i < deepest; ++i) {
      const kd::RandomKey step_key = key.with(static_cast<std::uint64_t>(i));
      const at::Tensor uniform = kd::random_uniform(step_key.with("level"), index, 1).squeeze(1).to(at::kDouble);
      const at::Tensor level = uniform * (params_.severity - kLowestDrawn) + kLowestDrawn;
      image_operations::Choice choice = table_.draw(step_key, index, level);
      const auto identity = static_cast<std::int64_t>(Operation::kIdentity);
      if (random_depth) choice.operation = at::where(depth > i, choice.operation, identity);
      images = image_operations::apply_operations(images, choice, params_.interpolation, params_.fill);
    }
    return images;
  }

  const Params params_;
  const image_operations::OperationTable table_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "augmix", AugMix, "mixtures of randomly altered images (Hendrycks et al., 2020)")
