// Weighted soft labels: Zhou, Song, Chen, Zhou, Wang, Yuan and Zhang, "Rethinking Soft Labels for Knowledge
// Distillation: A Bias-Variance Tradeoff Perspective", ICLR 2021, arXiv 2102.00650. T²·H(q, p) of each sample, times 1
// − exp(−l_s/l_t): l is −ln p(label) at T = 1, of the student and of the teacher. A sample that the student has learned
// better than the teacher counts little.
//   losses = [{ type = "cross_entropy" }, { type = "wsld", weight = 2.5, temperature = 2.0 }]
#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/temperature.h"
#include "kd/tensor.h"

namespace {

class WeightedSoftLabels final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "Zhou et al., ICLR 2021, arXiv 2102.00650",
                                            .weight = "2.5",
                                            .result = "ImageNet, ResNet-34 → ResNet-18, with T = 2"};

  struct Params : kd::TemperatureParams {
    static void schema(kd::Schema<Params>& s) { kd::declare_temperature(s).def(2.0); }
  };

  explicit WeightedSoftLabels(const Params& params) : temperature_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool labelled_rows_only() const override { return true; }
  bool recordable() const override { return temperature_.constant(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    constexpr double kEpsilon = 1e-7;
    const kd::LogitPair logits = kd::precise_logits(input);
    const auto label_loss = [&](const at::Tensor& given) {
      return kd::label_losses(at::log_softmax(given.detach(), 1), input.batch.targets);
    };
    const at::Tensor weight = 1 - (-label_loss(logits.student) / (label_loss(logits.teacher) + kEpsilon)).exp();
    const kd::Softened z = temperature_.at(logits, input.time);
    const at::Tensor entropy = -(z.log_teacher().exp() * z.log_student()).sum(1);
    return kd::labelled_mean(z.weighted(entropy * weight), input.batch.targets);
  }

 private:
  const kd::Temperature temperature_;
};

}  // namespace

KD_REGISTER(kd::Loss, "wsld", WeightedSoftLabels,
            "soft targets, each sample's weighed by how much better the teacher knows its label (weighted soft labels)")
