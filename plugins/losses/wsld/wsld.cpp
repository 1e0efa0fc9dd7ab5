// Weighted soft labels: Zhou, Song, Chen, Zhou, Wang, Yuan and Zhang, "Rethinking Soft Labels for Knowledge
// Distillation: A Bias-Variance Tradeoff Perspective", ICLR 2021, arXiv 2102.00650. T²·H(q, p) of each sample, times 1
// − exp(−l_s/l_t): l is −ln p(label) at T = 1, of the student and of the teacher. A sample that the student has learned
// better than the teacher counts little.
//   losses = [{ type = "cross_entropy" }, { type = "wsld", weight = 2.5, temperature = 2.0 }]
#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

class WeightedSoftLabels final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Zhou et al., ICLR 2021, arXiv 2102.00650",
                                            .weight = "2.5",
                                            .result = "ImageNet, ResNet-34 → ResNet-18, with T = 2"};

  struct Params {
    double temperature = 2;

    static void schema(kd::Schema<Params>& s) {
      s.field("temperature", &Params::temperature, "T; divides the logits, and the value is multiplied by T²")
          .def(2.0)
          .above(0);
    }
  };

  explicit WeightedSoftLabels(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool labelled_rows_only() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    constexpr double kEpsilon = 1e-7;
    const auto [student, teacher] = kd::precise_logits(input);
    const auto label_loss = [&](const at::Tensor& logits) {
      return kd::label_losses(at::log_softmax(logits.detach(), 1), input.batch.targets);
    };
    const at::Tensor weight = 1 - (-label_loss(student) / (label_loss(teacher) + kEpsilon)).exp();
    const at::Tensor q = kd::log_softmax_at(teacher, params_.temperature).exp();
    const at::Tensor entropy = -(q * kd::log_softmax_at(student, params_.temperature)).sum(1);
    return kd::labelled_mean(entropy * weight, input.batch.targets) * (params_.temperature * params_.temperature);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "wsld", WeightedSoftLabels,
            "soft targets, each sample's weighed by how much better the teacher knows its label (weighted soft labels)")
