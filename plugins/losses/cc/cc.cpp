// Correlation congruence: Peng, Jin, Liu, Li, Wu, Liu, Wu and Zhang, ICCV 2019, arXiv 1904.01802. The correlations of a
// batch's vectors of length 1 under a Gaussian kernel, by its Taylor series of order 2: the mean square of the
// difference between the student's and the teacher's. What RepDistiller calls so is another loss on learned embeddings
// of both: the mean over neighbouring samples of Σ |δ_i|·|δ_{i+1}|, with δ the difference of the embeddings. The
// paper's weight is not known here: 100 is that of a reimplementation (AberHu's), 0.02 RepDistiller's for its form.
//   losses = [{ type = "cross_entropy" }, { type = "cc", form = "correlation", gamma = 0.4 }]
#include <cmath>

#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/tap_pairs.h"
#include "kd/tensor.h"

namespace {

enum class Form { kCorrelation, kRepDistiller };

class CorrelationCongruence final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Peng et al., ICCV 2019, arXiv 1904.01802",
      .weight = "100.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4: 72.97 % top-1 (RepDistiller, in its form with weight 0.02)"};

  struct Params : kd::TapParams {
    Form form = Form::kCorrelation;
    double gamma = 0.4;
    std::int64_t order = 2, embedding = 128;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_taps(s, {"pooled"});
      s.choice(
           "form", &Params::form, {{"correlation", Form::kCorrelation}, {"repdistiller", Form::kRepDistiller}},
           "the paper's matrices of correlations, or RepDistiller's products of neighbours' differences, which wants "
           "weight = 0.02")
          .def("correlation");
      s.field("gamma", &Params::gamma, "of the kernel exp(−γ‖x − y‖²)").def(0.4).above(0);
      s.field("order", &Params::order, "of the kernel's Taylor series").def(2).range(1, 8);
      s.field("embedding", &Params::embedding, "width of the learned embeddings of RepDistiller's form")
          .def(128)
          .at_least(1);
    }
  };

  CorrelationCongruence(const Params& params, const Context& context)
      : params_(params), taps_(params, context, kd::TapPairs::kAny) {
    if (params.form == Form::kCorrelation) return;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      of_student_.push_back(embedding("student", i, taps_.student_shape(i)));
      of_teacher_.push_back(embedding("teacher", i, taps_.teacher_shape(i)));
    }
  }

  kd::LossNeeds needs() const override { return taps_.needs(); }
  std::shared_ptr<torch::nn::Module> module() override {
    return params_.form == Form::kCorrelation ? nullptr : adapter_.module();
  }

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    std::vector<at::Tensor> terms;
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const at::Tensor student = taps_.student_rows(input, i), teacher = taps_.teacher_rows(input, i);
      terms.push_back(params_.form == Form::kCorrelation
                          ? (correlations(student) - correlations(teacher)).square().mean()
                          : neighbours(kd::precise(of_student_[i](student)) - kd::precise(of_teacher_[i](teacher))));
    }
    return at::stack(terms).sum();
  }

 private:
  kd::Layers embedding(const std::string& whose, std::size_t i, const kd::FeatureShape& shape) {
    std::int64_t width = 1;
    for (const std::int64_t size : shape) width *= size;
    return adapter_.layers(whose + std::to_string(i + 1)).linear(width, params_.embedding);
  }

  /// Σ_p exp(−2γ)·(2γ)^p/p!·(xᵀy)^p of vectors of length 1.
  at::Tensor correlations(const at::Tensor& rows) const {
    const at::Tensor cosines = kd::gram(kd::unit_rows(rows));
    double factor = std::exp(-2 * params_.gamma);
    at::Tensor power = at::ones_like(cosines), sum = power * factor;
    for (std::int64_t p = 1; p <= params_.order; ++p) {
      factor *= 2 * params_.gamma / static_cast<double>(p);
      power = power * cosines;
      sum = sum + power * factor;
    }
    return sum;
  }

  static at::Tensor neighbours(const at::Tensor& difference) {
    const at::Tensor delta = difference.abs();
    const std::int64_t pairs = delta.size(0) - 1;
    if (pairs == 0) return (delta * 0).sum();
    return (delta.narrow(0, 0, pairs) * delta.narrow(0, 1, pairs)).sum() / static_cast<double>(pairs);
  }

  const Params params_;
  const kd::TapPairs taps_;
  kd::AdapterModule adapter_;
  std::vector<kd::Layers> of_student_, of_teacher_;
};

}  // namespace

KD_REGISTER(kd::Loss, "cc", CorrelationCongruence,
            "correlations between the samples of a batch, student's against teacher's (correlation congruence)")
