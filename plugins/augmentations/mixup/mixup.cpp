// Mixup: Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018, arXiv 1710.09412, eq. 1; and partial
// mixup, of a share of the batch: Choi et al., "Understanding the role of mixup in knowledge distillation", WACV 2023,
// arXiv 2211.03946.
//   augment = [{ type = "mixup", alpha = 0.3 }]
#include <ATen/ops/index_fill.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "../shared/mixing.h"
#include "kd/augmentation.h"
#include "kd/plugin.h"

namespace {

enum class Per { kBatch, kSample };
enum class Sampling { kExact, kWithReplacement };

class Mixup final : public kd::Augmentation {
 public:
  struct Params {
    double alpha = 1, share = 1;
    Per per = Per::kBatch;
    Sampling sampling = Sampling::kExact;

    static void schema(kd::Schema<Params>& s) {
      s.field("alpha", &Params::alpha, "the weight λ of a sample is drawn from Beta(alpha, alpha)").def(1.0).above(0);
      s.choice("per", &Params::per, {{"batch", Per::kBatch}, {"sample", Per::kSample}},
               "one λ for the batch (the published code), or one for each sample (MIX-KD)")
          .def("batch");
      s.field("share", &Params::share, "of the batch that is mixed; the rest keeps its images and labels")
          .def(1.0)
          .range(0, 1);
      s.choice(
           "sampling", &Params::sampling,
           {{"exact", Sampling::kExact}, {"with_replacement", Sampling::kWithReplacement}},
           "how the rest is chosen: exactly that many, or that many draws with replacement, which leaves more mixed: "
           "41 % for a share of 0.1 of 64 (MIX-KD's released code)")
          .def("exact");
    }
  };

  explicit Mixup(const Params& params) : params_(params) {}

  void apply(kd::Batch& batch, kd::RandomKey key) const override {
    mixing::refuse_mixed(batch, "mixup");
    const at::Tensor rows = mixing::partner_rows(key.with("partner"), batch.index);
    const at::Tensor drawn = weights(key.with("weight"), batch.index);
    const at::Tensor weight = params_.share < 1 ? at::where(is_mixed(key, batch.index), drawn, 1.0F) : drawn;
    const at::Tensor of_image = weight.view({-1, 1, 1, 1});
    const at::Tensor plain = batch.images;
    batch.change_images([&](const at::Tensor& images) {
      const at::Tensor floats = kd::to_float(images);
      return floats * of_image + floats.index_select(0, rows) * (1 - of_image);
    });
    batch.plain_images = plain;
    mixing::set_targets(batch, batch.targets.labels.index_select(0, rows), weight);
  }

  bool mixes() const override { return true; }

 private:
  at::Tensor weights(kd::RandomKey key, const at::Tensor& index) const {
    const at::Tensor counters = params_.per == Per::kBatch ? kd::common_counter(index) : index;
    return kd::random_beta(key, counters, params_.alpha, params_.alpha).expand({index.size(0)}).contiguous();
  }

  /// bool, N.
  at::Tensor is_mixed(kd::RandomKey key, const at::Tensor& index) const {
    const std::int64_t size = index.size(0);
    if (params_.sampling == Sampling::kExact) {
      const at::Tensor rank = kd::random_permutation(key.with("share"), index).argsort();
      return rank < std::llround(params_.share * static_cast<double>(size));
    }
    const auto draws = static_cast<std::int64_t>((1 - params_.share) * static_cast<double>(size));
    const at::Tensor picks = kd::random_below(key.with("share"), kd::common_counter(index), draws, size).squeeze(0);
    const at::Tensor plain_rows = index.argsort().index_select(0, picks);
    return at::ones_like(index, at::kBool).index_fill(0, plain_rows, 0);
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Augmentation, "mixup", Mixup,
            "weighted means of pairs of images and of their labels (Zhang et al., 2018)")
