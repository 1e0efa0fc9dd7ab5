// AugMix: Hendrycks et al., "AugMix: A simple data processing method to improve robustness and uncertainty", ICLR 2020,
// arXiv 1912.02781, Algorithm 1, with the operations of the published code (google-research/augmix).
//
// The published code mixes normalised images. The weights sum to 1 and normalisation is affine, so that mixing before
// 'normalize' gives the same.
//   augment = [{ type = "augmix", severity = 3.0, width = 3 }]
#include <ATen/ops/arange.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/stack.h>

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
      const Drawn drawn = draw(batch.index, key, 1);
      batch.change_images([&](const at::Tensor& images) { return mixtures(images, drawn).squeeze(0); });
      return;
    }
    const std::vector<std::string> names = view_names();
    const auto count = static_cast<std::int64_t>(names.size());
    const at::Tensor mixed = mixtures(batch.images, draw(batch.index, key, count));
    for (std::int64_t i = 0; i < count; ++i) {
      batch.extra_views.push_back({names[static_cast<std::size_t>(i)], mixed.select(0, i)});
    }
  }

  std::int64_t views() const override { return params_.consistency ? 1 : 0; }

  std::vector<std::string> view_names() const override {
    return params_.consistency ? std::vector<std::string>{"augmix_1", "augmix_2"} : std::vector<std::string>{};
  }

 private:
  /// What makes mixtures of each image: (1 − m) · x + m · Σ w_i · chain_i(x).
  struct Drawn {
    image_operations::Choice choice;  ///< N·views·width×depth
    at::Tensor own_weight;            ///< 1 − m; float, N×views
    at::Tensor chain_weights;         ///< m · w_i; float, N×views×width
  };

  Drawn draw(const at::Tensor& index, kd::RandomKey key, std::int64_t views) const {
    Drawn drawn{draw_operations(index, key, views * params_.width), {}, {}};
    const double a = params_.concentration;
    // Dirichlet weights by breaking a stick: each takes a beta share of what is left for it and those after it.
    at::Tensor rest = betas(index, key.with("mix"), views, a, a);
    drawn.own_weight = at::rsub(rest, 1);
    std::vector<at::Tensor> weights;
    for (std::int64_t after = params_.width - 1; after > 0; --after) {
      const kd::RandomKey weight_key = key.with("weight").with(static_cast<std::uint64_t>(after));
      weights.push_back(rest * betas(index, weight_key, views, a, a * static_cast<double>(after)));
      rest = rest - weights.back();
    }
    weights.push_back(rest);
    drawn.chain_weights = at::stack(weights, 2);
    return drawn;
  }

  /// N×views.
  static at::Tensor betas(const at::Tensor& index, kd::RandomKey key, std::int64_t views, double alpha, double beta) {
    std::vector<at::Tensor> columns;
    for (std::int64_t i = 0; i < views; ++i) {
      columns.push_back(kd::random_beta(key.with(static_cast<std::uint64_t>(i)), index, alpha, beta));
    }
    return at::stack(columns, 1);
  }

  /// Chains of one sample follow one another, so that lanes need no other order.
  image_operations::Choice draw_operations(const at::Tensor& index, kd::RandomKey key, std::int64_t chains) const {
    const std::int64_t deepest = params_.depth < 0 ? kGreatestRandomDepth : params_.depth;
    const at::Tensor uniform = kd::random_uniform(key.with("level"), index, chains * deepest).to(at::kDouble);
    image_operations::Choice choice =
        table_.draw(key, index, uniform * (params_.severity - kLowestDrawn) + kLowestDrawn);
    choice.operation = choice.operation.view({-1, deepest});
    choice.magnitude = choice.magnitude.view({-1, deepest});
    if (params_.depth < 0) {
      const at::Tensor last = kd::random_below(key.with("depth"), index, chains, kGreatestRandomDepth).view({-1, 1});
      const at::Tensor is_done = at::arange(deepest, last.options()).gt(last);
      choice.operation.masked_fill_(is_done, static_cast<std::int64_t>(Operation::kIdentity));
      choice.possible.add(Operation::kIdentity);
    }
    return choice;
  }

  /// views×N×C×H×W.
  at::Tensor mixtures(const at::Tensor& images, const Drawn& drawn) const {
    image_operations::require_bytes(images, "augmix");
    const std::int64_t views = drawn.chain_weights.size(1), width = drawn.chain_weights.size(2);
    const at::Tensor copies = images.unsqueeze(1).expand({-1, views * width, -1, -1, -1}).flatten(0, 1);
    const at::Tensor changed =
        image_operations::apply_operations(copies, drawn.choice, params_.interpolation, params_.fill);
    const at::Tensor chains =
        changed.view({images.size(0), views, width, images.size(1), images.size(2), images.size(3)}).transpose(0, 1);
    const auto for_bytes = [](const at::Tensor& weight) {
      return (weight.transpose(0, 1) * (1.0 / 255)).unsqueeze(-1).unsqueeze(-1).unsqueeze(-1);
    };
    const at::Tensor chain_weights = for_bytes(drawn.chain_weights);
    at::Tensor sum = images * for_bytes(drawn.own_weight);
    for (std::int64_t i = 0; i < width; ++i) sum.add_(chains.select(2, i) * chain_weights.select(2, i));
    return sum;
  }

  const Params params_;
  const image_operations::OperationTable table_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "augmix", AugMix, "mixtures of randomly altered images (Hendrycks et al., 2020)")
