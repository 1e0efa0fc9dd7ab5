// Refined logits: Sun, Chen, Huang, Zhang, Ding and Liu, "Knowledge Distillation with Refined Logits", 2024, arXiv
// 2408.07703. Two parts, with both softmaxes at their temperatures: of confidence, KL between (q_max, 1 − q_max) of the
// teacher, whatever class that is, and (p_label, 1 − p_label) of the student, times T_α²; and of the other classes,
// without those that the teacher puts level with the label or above it, KL of the softmaxes, times T².
//   losses = [{ type = "cross_entropy" }, { type = "rld", alpha = 1.0, beta = 8.0, temperature = 4.0 }]
#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/tensor.h"
#include "kd/warmup.h"

namespace {

/// ln (1 − p) of the classes where `mask` is false.
at::Tensor log_rest(const at::Tensor& log_p, const at::Tensor& mask) {
  return at::logsumexp(kd::take_out(log_p, mask), 1);
}

class RefinedLogits final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Sun et al., 2024, arXiv 2408.07703",
      .weight = "1.0",
      .result = "CIFAR-100, resnet32x4 → resnet8x4, with these defaults, which are those of the authors' code"};

  struct Params {
    double alpha = 1, beta = 8, temperature = 4, confidence_temperature = 1;
    std::int64_t warmup = 20;

    static void schema(kd::Schema<Params>& s) {
      s.field("alpha", &Params::alpha, "factor of the confidence's part").def(1.0).at_least(0);
      s.field("beta", &Params::beta, "factor of the other classes' part").def(8.0).at_least(0);
      s.field("temperature", &Params::temperature, "T of the other classes' part, which has the factor T²")
          .def(4.0)
          .above(0);
      s.field("confidence_temperature", &Params::confidence_temperature, "T of the confidence's part, likewise")
          .def(1.0)
          .above(0);
      kd::declare_warmup(s, &Params::warmup).def(20).at_least(0);
    }
  };

  explicit RefinedLogits(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true, .one_label = true}; }
  bool labelled_rows_only() const override { return true; }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const at::Tensor& labels = input.batch.targets.labels;
    const at::Tensor rows =
        confidence(student, teacher, labels) * params_.alpha + other_classes(student, teacher, labels) * params_.beta;
    return kd::labelled_mean(rows, input.batch.targets) * kd::warmup_factor(params_.warmup, input.time);
  }

 private:
  at::Tensor confidence(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& labels) const {
    const double t = params_.confidence_temperature;
    const at::Tensor log_p = kd::log_softmax_at(student, t), log_q = kd::log_softmax_at(teacher, t);
    const at::Tensor most = log_q.argmax(1);
    const at::Tensor p = kd::at_label(log_p, labels), q = kd::at_label(log_q, most);
    const at::Tensor p_rest = log_rest(log_p, kd::label_mask(labels, log_p.size(1)));
    const at::Tensor q_rest = log_rest(log_q, kd::label_mask(most, log_q.size(1)));
    return (q.exp() * (q - p) + q_rest.exp() * (q_rest - p_rest)) * (t * t);
  }

  at::Tensor other_classes(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& labels) const {
    const double t = params_.temperature;
    const at::Tensor mask = teacher >= kd::at_label(teacher, labels).unsqueeze(1);
    // Where every class is out, what is left is the same in both networks, and finite.
    constexpr double kOut = -1e9;
    const auto left = [&](const at::Tensor& logits) {
      return at::log_softmax((logits / t).masked_fill(mask, kOut), 1);
    };
    return kd::row_divergences(left(teacher), left(student)) * (t * t);
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(
    kd::Loss, "rld", RefinedLogits,
    "the teacher's confidence, and its softmax without the classes that it puts above the label (refined logits)")
