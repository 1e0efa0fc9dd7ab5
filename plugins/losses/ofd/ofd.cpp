// The overhaul of feature distillation: Heo, Kim, Yun, Park, Kwak and Choi, "A Comprehensive Overhaul of Feature
// Distillation", ICCV 2019, arXiv 1904.01866. Before their activation, the student's maps, through a 1×1 convolution
// and a batch norm, against the teacher's, whose negative numbers are raised to a margin: the mean of what is negative
// there, which follows from the batch norm that the map comes out of. Where both are below, nothing is asked (partial
// L2). The sum over a map, the mean over the batch; the l-th of L maps counts 2^(l−L).
//   losses = [{ type = "cross_entropy" }, { type = "ofd", weight = 1e-3, margin = "batch_norm" }]
#include <cmath>
#include <numbers>

#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

enum class Margin { kBatchNorm, kNone };

/// E[x | x < 0] of a normal number with these means and deviations; −3σ where hardly any is below 0, as the authors
/// have it.
at::Tensor mean_below_zero(const kd::BatchNormAffine& norm, const at::TensorOptions& options) {
  const at::Tensor deviation = norm.scale.to(options).abs().clamp_min(1e-12), mean = norm.shift.to(options);
  const at::Tensor ratio = mean / deviation;
  const at::Tensor below = ((ratio / std::numbers::sqrt2).neg().erf() + 1) / 2;
  const at::Tensor density = (ratio.square() / -2).exp() / std::sqrt(2 * std::numbers::pi);
  constexpr double kHardlyAny = 0.001;
  return at::where(below > kHardlyAny, mean - deviation * density / below.clamp_min(kHardlyAny), deviation * -3);
}

class Overhaul final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Heo et al., ICCV 2019, arXiv 1904.01866", .weight = "1e-3"};

  struct Params : kd::TapParams {
    Margin margin = Margin::kBatchNorm;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"stage1_pre", "stage2_pre", "stage3_pre"});
      s.choice("margin", &Params::margin, {{"batch_norm", Margin::kBatchNorm}, {"none", Margin::kNone}},
               "what the teacher's negative numbers are raised to: their mean, by the teacher's batch norm, or nothing")
          .def("batch_norm");
    }
  };

  Overhaul(const Params& params, const Context& context)
      : params_(params), taps_(params, context, kd::TapPairs::kMaps) {
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const std::int64_t out = taps_.teacher_shape(i)[0];
      connectors_.push_back(adapter_.layers("connector" + std::to_string(i + 1))
                                .convolution(taps_.student_shape(i)[0], out,
                                             {.bias = false, .weights = kd::FirstWeights::kNormalOverOutputs})
                                .batch_norm(out));
    }
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const auto [student, teacher] = kd::at_common_size(kd::precise(connectors_[i](taps_.student(input, i))),
                                                         kd::precise(taps_.teacher(input, i)));
      at::Tensor target = teacher;
      if (params_.margin == Margin::kBatchNorm) {
        const kd::BatchNormAffine norm = network(input).batch_norm(taps_.teacher_name(i));
        target = at::maximum(teacher, mean_below_zero(norm, teacher.options()).view({1, -1, 1, 1}));
      }
      const at::Tensor counts = at::logical_or(student > target, teacher > 0).to(student.scalar_type());
      const at::Tensor sum = ((student - target).square() * counts).sum() / static_cast<double>(student.size(0));
      terms.push_back(sum * std::exp2(double(i) - double(taps_.size()) + 1));
    }
    return at::stack(terms).sum();
  }

 private:
  static kd::Head& network(const kd::LossInput& input) {
    if (input.teacher().network == nullptr)
      throw kd::Error(
          "the margin follows from one teacher's batch norm, and these are answers of several put together");
    return *input.teacher().network;
  }

  const Params params_;
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  std::vector<kd::Layers> connectors_;
};

}  // namespace

KD_REGISTER(kd::Loss, "ofd", Overhaul,
            "maps before their activation against the teacher's with a margin (overhaul of feature distillation)")
