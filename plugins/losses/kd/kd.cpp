// Soft-target distillation: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
// With per_sample = "standardized" it is logit standardization, published with T from 2 to 4 and weight 9 beside 0.1 of
// cross_entropy; with "confidence" it is dynamic temperature.
//   losses = [{ type = "kd", temperature = 4.0, form = "kl", scale = "t2" }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/soft_targets.h"
#include "kd/temperature.h"

namespace {

enum class Form { kKl, kCrossEntropy };
enum class Scale { kTemperatureSquared, kNone };

class SoftTargetLoss final : public kd::Loss {
 public:
  struct Params : kd::TemperatureParams {
    Form form = Form::kKl;
    Scale scale = Scale::kTemperatureSquared;
    kd::Reduction reduction = kd::Reduction::kBatchMean;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_temperature(s).def(4.0);
      s.choice("form", &Params::form, {{"kl", Form::kKl}, {"cross_entropy", Form::kCrossEntropy}},
               "KL(q‖p), or H(q, p), which has the same gradient and is larger by the teacher's entropy H(q)")
          .def("kl");
      s.choice("scale", &Params::scale, {{"t2", Scale::kTemperatureSquared}, {"none", Scale::kNone}},
               "factor T² keeps the gradient's size at any T (Hinton et al., §2), or none")
          .def("t2");
      kd::declare_reduction(s, &Params::reduction).def("batchmean");
    }
  };

  explicit SoftTargetLoss(const Params& params) : params_(params), temperature_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool recordable() const override { return temperature_.constant(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const kd::Softened z = temperature_(input);
    const double divisor = kd::reduction_divisor(params_.reduction, z.student);
    if (z.weights.defined()) return sum_of_rows(z) / divisor;
    const double t = z.temperature;
    const double factor = (params_.scale == Scale::kTemperatureSquared ? t * t : 1.0) / divisor;
    return params_.form == Form::kKl ? kd::soft_target_divergence(z.student, z.teacher, t, factor)
                                     : kd::soft_target_cross_entropy(z.student, z.teacher, t, factor);
  }

 private:
  /// Where each sample has its own T²: the closed form of the functions above has one.
  at::Tensor sum_of_rows(const kd::Softened& z) const {
    const at::Tensor log_p = z.log_student(), log_q = z.log_teacher();
    const at::Tensor rows =
        params_.form == Form::kKl ? kd::row_divergences(log_q, log_p) : -(log_q.exp() * log_p).sum(1);
    return (params_.scale == Scale::kTemperatureSquared ? z.weighted(rows) : rows).sum();
  }

  const Params params_;
  const kd::Temperature temperature_;
};

}  // namespace

KD_REGISTER(kd::Loss, "kd", SoftTargetLoss,
            "soft targets of a teacher at a temperature (Hinton et al., 2015), which may be each sample's own: logit "
            "standardization, dynamic temperature")
