// Decoupled distillation: Zhao, Cui, Song, Qiu and Liang, "Decoupled Knowledge Distillation", CVPR 2022, arXiv
// 2203.08679. Everything is a log-softmax; the released code takes log(softmax), which is NaN where
// logits are saturated.
//   losses = [{ type = "dkd", alpha = 1.0, beta = 8.0, temperature = 4.0 }]
#include <ATen/ops/logsumexp.h>

#include <algorithm>

#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

/// The softmax of one network, taken apart at the labels.
struct Parts {
  at::Tensor log_label;   ///< ln p(label), N
  at::Tensor log_others;  ///< ln (1 − p(label)), N
  at::Tensor log_other;   ///< log-softmax over the classes that are not the label's, N×classes
};

Parts take_apart(const at::Tensor& scaled, const at::Tensor& labels, const at::Tensor& mask) {
  const at::Tensor log_p = at::log_softmax(scaled, 1);
  return {.log_label = kd::at_label(log_p, labels),
          .log_others = at::logsumexp(kd::take_out(log_p, mask), 1),
          .log_other = kd::other_log_softmax(scaled, mask)};
}

class DecoupledLoss final : public kd::Loss {
 public:
  struct Params {
    double alpha = 1, beta = 8, temperature = 4;
    std::int64_t warmup = 20;
    bool standardize = false;

    static void schema(kd::Schema<Params>& s) {
      s.field("alpha", &Params::alpha, "factor of TCKD, the divergence of (p(label), 1 − p(label))")
          .def(1.0)
          .at_least(0);
      s.field(
           "beta", &Params::beta,
           "factor of NCKD, the divergence over the other classes; CIFAR-100: 8 for resnet8x4 and ShuffleNets, 6 for "
           "wide ResNets and VGG, 2 for resnet20 and resnet32")
          .def(8.0)
          .at_least(0);
      s.field("temperature", &Params::temperature,
              "T; divides the logits of student and teacher, and the value is multiplied by T²")
          .def(4.0)
          .above(0);
      s.field(
           "warmup", &Params::warmup,
           "epochs over which the value grows: in epoch e = 1, 2, … it is multiplied by min(e/warmup, 1); 0 for none")
          .def(20)
          .at_least(0);
      s.field("standardize", &Params::standardize,
              "standardises the logits of each sample first (Sun et al., CVPR 2024, as loss logit_standardization)")
          .def(false);
    }
  };

  explicit DecoupledLoss(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override {
    return {.teacher = true, .student_taps = {}, .teacher_taps = {}, .views = {}, .one_label = true};
  }
  bool labelled_rows_only() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const at::Tensor& labels = input.batch.targets.labels;
    const at::Tensor mask = kd::label_mask(labels, student.size(1));
    const Parts p = take_apart(scale(student), labels, mask);
    const Parts q = take_apart(scale(teacher), labels, mask);
    const at::Tensor target =
        q.log_label.exp() * (q.log_label - p.log_label) + q.log_others.exp() * (q.log_others - p.log_others);
    const at::Tensor rows = target * params_.alpha + kd::row_divergences(q.log_other, p.log_other) * params_.beta;
    return kd::labelled_mean(rows, input.batch.targets) * factor(input.time);
  }

 private:
  at::Tensor scale(const at::Tensor& logits) const {
    return (params_.standardize ? kd::standardise_logits(logits) : logits) / params_.temperature;
  }

  double factor(const kd::ScheduleTime& time) const {
    const double squared = params_.temperature * params_.temperature;
    if (params_.warmup == 0) return squared;
    const auto epoch = static_cast<double>(time.whole_epoch() + 1);
    return squared * std::min(epoch / static_cast<double>(params_.warmup), 1.0);
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "dkd", DecoupledLoss,
            "soft targets decoupled into the label's class and the others, each with its factor (Zhao et al., 2022)")
