// Activation boundaries: Heo, Lee, Yun and Choi, "Knowledge Transfer via Distillation of Activation Boundaries Formed
// by Hidden Neurons", AAAI 2019, arXiv 1811.03233. Before their activation, the student's maps, through a learned
// connector where the shapes differ, are to be on the same side of 0 as the teacher's by a margin: the squared distance
// to it, summed, over B; the l-th of L maps counts 2^(l−L). The authors train with this alone in a first stage, and
// with the labels alone in a second, which begins with it.
//   losses = [{ type = "ab", weight = 1.0, margin = 1.0 }]
#include <cmath>

#include "../shared/regressor.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

enum class Scale { kAuthors, kBatch, kMean };

class ActivationBoundaries final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Heo et al., AAAI 2019, arXiv 1811.03233",
      .weight = "1.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 73.17 % top-1 (RepDistiller, 30 epochs before training)"};

  struct Params : kd::TapParams {
    double margin = 1;
    Scale scale = Scale::kAuthors;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"stage1_pre", "stage2_pre", "stage3_pre"});
      s.field("margin", &Params::margin, "how far from 0 the student is to be").def(1.0).above(0);
      s.choice(
           "scale", &Params::scale, {{"authors", Scale::kAuthors}, {"batch", Scale::kBatch}, {"mean", Scale::kMean}},
           "of the sum over a map: 3/1000/B as the authors and RepDistiller have it, 1/B (torchdistill), or the mean")
          .def("authors");
    }
  };

  ActivationBoundaries(const Params& params, const Context& context)
      : params_(params), taps_(params, context, kd::TapPairs::kMaps) {
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const kd::FeatureShape &student = taps_.student_shape(i), &teacher = taps_.teacher_shape(i);
      connectors_.push_back(adapter_.layers("connector" + std::to_string(i + 1)));
      if (student == teacher) continue;
      connectors_.back() = regressor::make(connectors_.back(), student, teacher, /*relu=*/false);
      learned_ = true;
    }
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return learned_ ? adapter_.module() : nullptr; }

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const auto [student, teacher] = kd::at_common_size(kd::precise(connectors_[i](taps_.student(input, i))),
                                                         kd::precise(taps_.teacher(input, i)));
      // Σ max(0, m ∓ s)²: above 0 where the student is not yet beyond the margin on the teacher's side.
      const at::Tensor side = (teacher > 0).to(student.scalar_type()) * 2 - 1;
      const at::Tensor missing = at::relu(params_.margin - student * side);
      terms.push_back(missing.square().sum() * (factor(missing) * std::exp2(double(i) - double(taps_.size()) + 1)));
    }
    return at::stack(terms).sum();
  }

 private:
  double factor(const at::Tensor& map) const {
    const auto samples = static_cast<double>(map.size(0)), count = static_cast<double>(map.numel());
    return params_.scale == Scale::kAuthors ? 0.003 / samples
           : params_.scale == Scale::kBatch ? 1 / samples
                                            : 1 / count;
  }

  const Params params_;
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  std::vector<kd::Layers> connectors_;
  bool learned_ = false;
};

}  // namespace

KD_REGISTER(kd::Loss, "ab", ActivationBoundaries,
            "on which side of 0 the student's maps are against the teacher's (activation boundaries)")
