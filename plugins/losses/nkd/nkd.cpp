// Normalised distillation, NKD: Yang, Zeng, Li, Zhang, Yuan and Li, "From Knowledge Distillation to Self-Knowledge
// Distillation: A Unified Approach with Normalized Loss and Customized Soft Labels", ICCV 2023, arXiv 2303.13005.
//   losses = [{ type = "nkd", gamma = 1.5, temperature = 1.0 }]
#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

class NormalizedLoss final : public kd::Loss {
 public:
  struct Params {
    double gamma = 1.5, temperature = 1;

    static void schema(kd::Schema<Params>& s) {
      s.field("gamma", &Params::gamma, "factor of the term over the classes that are not the label's; published: 1.5")
          .def(1.5)
          .at_least(0);
      s.field("temperature", &Params::temperature,
              "λ; divides the logits of the other classes, and their term is multiplied by λ²; the label's class is "
              "always taken at temperature 1")
          .def(1.0)
          .above(0);
    }
  };

  explicit NormalizedLoss(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override {
    return {.teacher = true, .student_taps = {}, .teacher_taps = {}, .views = {}, .one_label = true};
  }
  bool labelled_rows_only() const override { return true; }

  /// −q(label) ln p(label) − γλ² Σ N(q) ln N(p), with N the softmax over the classes that are not the label's.
  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const at::Tensor& labels = input.batch.targets.labels;
    const at::Tensor mask = kd::label_mask(labels, student.size(1));
    const double lambda = params_.temperature;
    const at::Tensor log_p = kd::at_label(at::log_softmax(student, 1), labels);
    const at::Tensor log_q = kd::at_label(at::log_softmax(teacher, 1), labels);
    const at::Tensor log_other_p = kd::other_log_softmax(student / lambda, mask);
    const at::Tensor log_other_q = kd::other_log_softmax(teacher / lambda, mask);
    const at::Tensor others = (log_other_q.exp() * log_other_p).sum(1);
    return -kd::labelled_mean(log_q.exp() * log_p + others * (params_.gamma * lambda * lambda), input.batch.targets);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "nkd", NormalizedLoss,
            "soft target of the label's class and normalised soft targets of the others (Yang et al., 2023); the "
            "published sum also has cross_entropy, which is a loss of its own here")
