// Normalised distillation, NKD: Yang, Zeng, Li, Zhang, Yuan and Li, "From Knowledge Distillation to Self-Knowledge
// Distillation: A Unified Approach with Normalized Loss and Customized Soft Labels", ICCV 2023, arXiv 2303.13005.
//   losses = [{ type = "nkd", gamma = 1.5, temperature = 1.0 }]
#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/temperature.h"

namespace {

class NormalizedLoss final : public kd::Loss {
 public:
  struct Params : kd::TemperatureParams {
    double gamma = 1.5;

    static void schema(kd::Schema<Params>& s) {
      s.field("gamma", &Params::gamma, "factor of the term over the classes that are not the label's; published: 1.5")
          .def(1.5)
          .at_least(0);
      kd::declare_temperature(s).def(1.0);
    }
  };

  explicit NormalizedLoss(const Params& params) : params_(params), temperature_(params) {}

  kd::LossNeeds needs() const override {
    return {.teacher = true, .student_taps = {}, .teacher_taps = {}, .views = {}, .one_label = true};
  }
  bool labelled_rows_only() const override { return true; }
  bool recordable() const override { return temperature_.constant(); }

  /// −q(label) ln p(label) − γT² Σ N(q) ln N(p), with N the softmax at T over the classes that are not the label's; the
  /// label's class is always taken at temperature 1.
  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const at::Tensor& labels = input.batch.targets.labels;
    const at::Tensor mask = kd::label_mask(labels, student.size(1));
    const at::Tensor log_p = kd::at_label(at::log_softmax(student, 1), labels);
    const at::Tensor log_q = kd::at_label(at::log_softmax(teacher, 1), labels);
    const kd::Softened z = temperature_.at({student, teacher}, input.time);
    const at::Tensor log_other_p = kd::other_log_softmax(z.student / z.temperature, mask);
    const at::Tensor log_other_q = kd::other_log_softmax(z.teacher / z.temperature, mask);
    const at::Tensor others = z.weighted((log_other_q.exp() * log_other_p).sum(1));
    return -kd::labelled_mean(log_q.exp() * log_p + others * params_.gamma, input.batch.targets);
  }

 private:
  const Params params_;
  const kd::Temperature temperature_;
};

}  // namespace

KD_REGISTER(kd::Loss, "nkd", NormalizedLoss,
            "soft target of the label's class and normalised soft targets of the others (Yang et al., 2023); the "
            "published sum also has cross_entropy, which is a loss of its own here")
