// Distillation by correlated features: Cao, Zhang, Gao, Cheng, Zhang, Cheng and Zhang, "PKD: General Distillation
// Framework for Object Detectors via Pearson Correlation Coefficient", NeurIPS 2022, arXiv 2207.02039. Each channel of
// a map, over samples and places, is brought to mean 0 and deviation 1: half the mean square of the difference, which
// is 1 − Pearson's correlation. Where the channels differ a learned 1×1 convolution brings the student's to the
// teacher's. Published for detection, with weight 6; nothing is published for these data sets.
//   losses = [{ type = "cross_entropy" }, { type = "pkd", weight = 6.0, taps = ["stage3"] }]
#include "../shared/to_teacher.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

/// C×(N·H·W), each row less its mean and over its unbiased deviation.
at::Tensor standardised_channels(const at::Tensor& map) {
  constexpr double kEpsilon = 1e-6;
  const at::Tensor rows = kd::precise(map).transpose(0, 1).flatten(1);
  const at::Tensor centred = rows - rows.mean(1, true);
  const auto count = static_cast<double>(std::max<std::int64_t>(1, rows.size(1) - 1));
  // The root of 0 has no gradient.
  const at::Tensor deviation = (centred.square().sum(1, true) / count).clamp_min(kEpsilon * kEpsilon).sqrt();
  return centred / (deviation + kEpsilon);
}

class PearsonFeatures final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Cao et al., NeurIPS 2022, arXiv 2207.02039", .weight = "6.0"};

  struct Params : kd::TapParams {
    static void schema(kd::Schema<Params>& s) { kd::declare_taps(s, {"stage3"}); }
  };

  PearsonFeatures(const Params& params, const Context& context)
      : group_(*context.group), taps_(params, context, kd::TapPairs::kMaps), to_teacher_(taps_) {}

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return to_teacher_.module(); }

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const auto [student, teacher] =
          kd::at_common_size(to_teacher_(i, taps_.student(input, i)), taps_.teacher(input, i));
      const at::Tensor s = standardised_channels(kd::gather_with_gradient(group_, student));
      const at::Tensor t = standardised_channels(group_.gather(teacher));
      terms.push_back((s - t).square().mean() * 0.5);
    }
    return at::stack(terms).sum();
  }

 private:
  kd::Group& group_;
  const kd::TapPairs taps_;
  const to_teacher::Layers to_teacher_;
};

}  // namespace

KD_REGISTER(kd::Loss, "pkd", PearsonFeatures,
            "Pearson's correlation between the channels of the student's and the teacher's maps (PKD)")
