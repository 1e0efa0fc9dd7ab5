// Information theoretic distillation: Miles, Lopez-Rodriguez and Mikolajczyk, "Information Theoretic Representation
// Distillation", BMVC 2022, arXiv 2112.00459. The student's vectors, through a learned linear layer, are standardised
// over the batch, as are the teacher's: log2 Σ_d |1 − correlation_d|^(2α), and of the kernels' matrices of both, over
// their traces, Σ G_s² − Σ G_st². As the authors' code has it, the second part takes the student's vectors as they are
// where they are as wide as the teacher's.
//   losses = [{ type = "cross_entropy" }, { type = "itrd", correlation = 2.0, mutual = 1.0, alpha = 1.01 }]
#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

/// Each column less its mean and over its unbiased deviation.
at::Tensor standardised(const at::Tensor& rows) {
  const at::Tensor centred = rows - rows.mean(0, true);
  const auto count = static_cast<double>(std::max<std::int64_t>(1, rows.size(0) - 1));
  return centred / (centred.square().sum(0, true) / count).clamp_min(1e-12).sqrt();
}

class InformationTheoretic final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Miles et al., BMVC 2022, arXiv 2112.00459",
                                            .weight = "1.0",
                                            .result = "CIFAR-100, resnet32x4 → resnet8x4: 76.69 % top-1"};

  struct Params : kd::TapParams {
    double correlation = 2, mutual = 1, alpha = 1.01;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"pooled"});
      s.field("correlation", &Params::correlation, "factor of the correlations' part").def(2.0).at_least(0);
      s.field("mutual", &Params::mutual,
              "factor of the mutual information's part; the authors' example has 1, the default of their code is 0.05")
          .def(1.0)
          .at_least(0);
      s.field("alpha", &Params::alpha,
              "order of Rényi's entropy; the authors' example has 1.01, the default of their code is 1.5")
          .def(1.01)
          .above(0);
    }
  };

  InformationTheoretic(const Params& params, const Context& context)
      : params_(params), taps_(params, context, kd::TapPairs::kVectors) {
    if (taps_.size() != 1) throw kd::RecipeError("information theoretic distillation compares one feature");
    to_teacher_.linear(taps_.student_shape(0)[0], taps_.teacher_shape(0)[0]);
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const at::Tensor own = taps_.student_rows(input, 0), teacher = taps_.teacher_rows(input, 0);
    const at::Tensor student = kd::precise(to_teacher_(own));
    return correlation(student, teacher) * params_.correlation +
           mutual(own.size(1) == teacher.size(1) ? own : student, teacher) * params_.mutual;
  }

 private:
  at::Tensor correlation(const at::Tensor& student, const at::Tensor& teacher) const {
    constexpr double kLeast = 1e-12;  // whose powers and logarithm are finite, as are their gradients
    const at::Tensor correlations = (standardised(student) * standardised(teacher)).mean(0);
    return (correlations - 1).square().clamp_min(kLeast).pow(params_.alpha).sum().log2();
  }

  static at::Tensor mutual(const at::Tensor& student, const at::Tensor& teacher) {
    const at::Tensor of_student = kd::gram(kd::unit_rows(student));
    const at::Tensor of_both = of_student * kd::gram(kd::unit_rows(teacher));
    const auto over_trace = [](const at::Tensor& matrix) { return matrix / matrix.diagonal().sum().clamp_min(1e-12); };
    return over_trace(of_student).square().sum() - over_trace(of_both).square().sum();
  }

  const Params params_;
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  kd::Layers to_teacher_ = adapter_.layers("to_teacher");
};

}  // namespace

KD_REGISTER(kd::Loss, "itrd", InformationTheoretic,
            "correlation and mutual information between the student's and the teacher's vectors (ITRD)")
