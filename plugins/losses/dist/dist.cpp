// Distillation by correlation: Huang, You, Wang, Qian and Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS
// 2022, arXiv 2205.10536.
//   losses = [{ type = "dist", temperature = 4.0, beta = 1.0, gamma = 1.0 }]
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/softmax.h>

#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

/// Norms along a dimension, which is kept.
at::Tensor norms(const at::Tensor& matrix, std::int64_t dimension) {
  return at::linalg_vector_norm(matrix, 2, at::IntArrayRef{dimension}, true);
}

/// 1 − Pearson's correlation along a dimension, averaged over the other. A constant row or column correlates with none.
at::Tensor mean_distance(const at::Tensor& a, const at::Tensor& b, std::int64_t dimension) {
  constexpr double kEpsilon = 1e-8;  // as the released code
  const at::Tensor x = a - a.mean(dimension, true);
  const at::Tensor y = b - b.mean(dimension, true);
  const at::Tensor scale = norms(x, dimension) * norms(y, dimension) + kEpsilon;
  return 1 - ((x * y).sum(dimension, true) / scale).mean();
}

class CorrelationLoss final : public kd::Loss {
 public:
  struct Params {
    double temperature = 4, beta = 1, gamma = 1;

    static void schema(kd::Schema<Params>& s) {
      s.field(
           "temperature", &Params::temperature,
           "τ; divides the logits of student and teacher, and the value is multiplied by τ²; published: 4 with weight "
           "2 on CIFAR-100, 1 on ImageNet")
          .def(4.0)
          .above(0);
      s.field("beta", &Params::beta, "factor of the inter-class term: 1 − correlation over the classes of a sample")
          .def(1.0)
          .at_least(0);
      s.field("gamma", &Params::gamma, "factor of the intra-class term: 1 − correlation over the samples of a class")
          .def(1.0)
          .at_least(0);
    }
  };

  explicit CorrelationLoss(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const double tau = params_.temperature;
    const at::Tensor p = at::softmax(student / tau, 1);
    const at::Tensor q = at::softmax(teacher / tau, 1);
    return mean_distance(p, q, 1) * (tau * tau * params_.beta) + mean_distance(p, q, 0) * (tau * tau * params_.gamma);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "dist", CorrelationLoss,
            "correlation of student's and teacher's probabilities, over classes and over samples (Huang et al., 2022)")
