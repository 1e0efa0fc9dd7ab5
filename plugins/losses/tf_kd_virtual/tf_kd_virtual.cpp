// Teacher-free distillation from a virtual teacher, Tf-KD_reg: Yuan, Tay, Li, Wang and Feng, "Revisiting Knowledge
// Distillation via Label Smoothing Regularization", CVPR 2020, arXiv 1909.11723.
//   losses = [{ type = "tf_kd_virtual", temperature = 20.0, correct = 0.99, form = "softened" }]
#include <cmath>

#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

enum class Form { kSoftened, kReleased };

/// The teacher's probabilities: one at the label, the other at each of the other classes.
struct VirtualTeacher {
  double label, other;
};

/// softmax of two logits, of which the second stands `others` times.
VirtualTeacher softmax(double label, double other, double others) {
  const double ratio = std::exp(other - label);
  const double p = 1 / (1 + others * ratio);
  return {.label = p, .other = p * ratio};
}

class VirtualTeacherLoss final : public kd::Loss {
 public:
  struct Params {
    double temperature = 20, correct = 0.99;
    Form form = Form::kSoftened;
    kd::Reduction reduction = kd::Reduction::kBatchMean;

    static void schema(kd::Schema<Params>& s) {
      s.field("temperature", &Params::temperature, "T; published: 20, and 40 for some networks").def(20.0).above(0);
      s.field("correct", &Params::correct,
              "probability u that the virtual teacher gives the label before it is softened; each other class has "
              "(1 − u)/(C − 1), with C classes")
          .def(0.99)
          .above(0)
          .below(1);
      s.choice("form", &Params::form, {{"softened", Form::kSoftened}, {"released", Form::kReleased}},
               "softened: T² · KL of softmax(ln u/T) and softmax(z/T), as the paper describes it; released: KL of "
               "softmax(u/T), the probabilities taken as logits, and softmax(z), without T²")
          .def("softened");
      kd::declare_reduction(s, &Params::reduction).def("batchmean");
    }
  };

  VirtualTeacherLoss(const Params& params, const Context& context)
      : params_(params), teacher_(make_teacher(params, context.classes)) {
    const auto others = static_cast<double>(context.classes - 1);
    less_entropy_ = teacher_.label * std::log(teacher_.label) + others * teacher_.other * std::log(teacher_.other);
  }

  bool labelled_rows_only() const override { return true; }
  bool recordable() const override { return true; }

  /// Σ q ln q − Σ q ln p of each row; q has two values, so that the second sum is one of −ln p(label) and Σ ln p. Of a
  /// mixed sample it is the sum of both teachers' divergences, weighted as the labels are.
  at::Tensor operator()(const kd::LossInput& input) override {
    const double t = params_.form == Form::kSoftened ? params_.temperature : 1;
    const at::Tensor log_p = kd::log_softmax_at(kd::precise(input.student.logits), t);
    const at::Tensor at_label = kd::label_losses(log_p, input.batch.targets) * (teacher_.label - teacher_.other);
    const at::Tensor rows = at_label - log_p.sum(1) * teacher_.other + less_entropy_;
    const double classes = params_.reduction == kd::Reduction::kMean ? static_cast<double>(log_p.size(1)) : 1;
    return kd::labelled_mean(rows, input.batch.targets) * (t * t / classes);
  }

 private:
  static VirtualTeacher make_teacher(const Params& params, std::int64_t classes) {
    const auto others = static_cast<double>(classes - 1);
    const double label = params.correct, other = (1 - params.correct) / others, t = params.temperature;
    return params.form == Form::kReleased ? softmax(label / t, other / t, others)
                                          : softmax(std::log(label) / t, std::log(other) / t, others);
  }

  const Params params_;
  const VirtualTeacher teacher_;
  double less_entropy_ = 0;
};

}  // namespace

KD_REGISTER(kd::Loss, "tf_kd_virtual", VirtualTeacherLoss,
            "soft targets of a virtual teacher that is nearly sure of the label (Tf-KD_reg, Yuan et al., 2020); the "
            "released code has form released, reduction mean, and weight 0.1 · 100 beside 0.9 for cross_entropy")
