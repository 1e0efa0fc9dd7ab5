// Soft-target distillation: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
//   losses = [{ type = "kd", temperature = 4.0, form = "kl", scale = "t2" }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/soft_targets.h"

namespace {

enum class Form { kKl, kCrossEntropy };
enum class Scale { kTemperatureSquared, kNone };

class SoftTargetLoss final : public kd::Loss {
 public:
  struct Params {
    kd::Scheduled temperature;
    Form form = Form::kKl;
    Scale scale = Scale::kTemperatureSquared;
    kd::Reduction reduction = kd::Reduction::kBatchMean;

    static void schema(kd::Schema<Params>& s) {
      s.field("temperature", &Params::temperature,
              "T; divides the logits of student and teacher: a number, or a schedule whose values are above 0")
          .def(4.0)
          .above(0);
      s.choice("form", &Params::form, {{"kl", Form::kKl}, {"cross_entropy", Form::kCrossEntropy}},
               "KL(q‖p), or H(q, p), which has the same gradient and is larger by the teacher's entropy H(q)")
          .def("kl");
      s.choice("scale", &Params::scale, {{"t2", Scale::kTemperatureSquared}, {"none", Scale::kNone}},
               "factor T² keeps the gradient's size at any T (Hinton et al., §2), or none")
          .def("t2");
      kd::declare_reduction(s, &Params::reduction).def("batchmean");
    }
  };

  explicit SoftTargetLoss(const Params& params) : params_(params), temperature_(params.temperature) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const double t = temperature_.at(input.time);
    const double scale = params_.scale == Scale::kTemperatureSquared ? t * t : 1.0;
    const double factor = scale / kd::reduction_divisor(params_.reduction, student);
    return params_.form == Form::kKl ? kd::soft_target_divergence(student, teacher, t, factor)
                                     : kd::soft_target_cross_entropy(student, teacher, t, factor);
  }

 private:
  const Params params_;
  const kd::ScheduledValue temperature_;
};

}  // namespace

KD_REGISTER(kd::Loss, "kd", SoftTargetLoss, "soft targets of a teacher at a temperature (Hinton et al., 2015)")
