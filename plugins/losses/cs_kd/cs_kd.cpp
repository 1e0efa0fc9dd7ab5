// Class-wise self-distillation: Yun, Park, Lee and Shin, "Regularizing Class-wise Predictions via Self-knowledge
// Distillation", CVPR 2020, arXiv 2003.13964, with the factor T² of the released code.
//   losses = [{ type = "cs_kd", temperature = 4.0 }]
#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

constexpr const char* kView = "same_class";

class ClasswiseLoss final : public kd::Loss {
 public:
  struct Params {
    double temperature = 4;

    static void schema(kd::Schema<Params>& s) {
      s.field("temperature", &Params::temperature,
              "T; divides the logits of both samples, and the value is multiplied by T²; published: 4, with weight 1")
          .def(4.0)
          .above(0);
    }
  };

  explicit ClasswiseLoss(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override {
    return {.teacher = false,
            .student_taps = {},
            .teacher_taps = {},
            .views = {{.name = kView, .gradient = false}},
            .one_label = true};
  }
  bool labelled_rows_only() const override { return true; }
  bool recordable() const override { return true; }

  /// T² · KL(q‖p), with p of the sample and q, without gradient, of the other sample of its class.
  at::Tensor operator()(const kd::LossInput& input) override {
    const double t = params_.temperature;
    const at::Tensor log_p = kd::log_softmax_at(kd::precise(input.student.logits), t);
    const at::Tensor other = input.view(kView).detach().to(log_p.scalar_type());
    const at::Tensor rows = kd::row_divergences(kd::log_softmax_at(other, t), log_p);
    return kd::labelled_mean(rows, input.batch.targets) * (t * t);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "cs_kd", ClasswiseLoss,
            "agreement with the student's own prediction on another sample of the class, which the extra view "
            "\"same_class\" shows (CS-KD, Yun et al., 2020)")
