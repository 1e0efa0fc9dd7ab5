// Soft-target distillation: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>

#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

enum class Form { kKl, kCrossEntropy };
enum class Scale { kTemperatureSquared, kNone };
enum class Reduction { kBatchMean, kMean };

class SoftTargetLoss final : public kd::Loss {
 public:
  struct Params {
    double temperature = 4;
    Form form = Form::kKl;
    Scale scale = Scale::kTemperatureSquared;
    Reduction reduction = Reduction::kBatchMean;

    static void schema(kd::Schema<Params>& s) {
      s.field("temperature", &Params::temperature, "T; divides the logits of student and teacher").def(4.0).above(0);
      s.choice("form", &Params::form, {{"kl", Form::kKl}, {"cross_entropy", Form::kCrossEntropy}},
               "KL(q‖p), or H(q, p), which has the same gradient and is larger by the teacher's entropy H(q)")
          .def("kl");
      s.choice("scale", &Params::scale, {{"t2", Scale::kTemperatureSquared}, {"none", Scale::kNone}},
               "factor T² keeps the gradient's size at any T (Hinton et al., §2), or none")
          .def("t2");
      s.choice("reduction", &Params::reduction, {{"batchmean", Reduction::kBatchMean}, {"mean", Reduction::kMean}},
               "sum over classes and mean over the batch, or mean over both (1/(B·C), as some repositories have it)")
          .def("batchmean");
    }
  };

  explicit SoftTargetLoss(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true, .student_taps = {}, .teacher_taps = {}}; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const double t = params_.temperature;
    const at::Tensor log_p = at::log_softmax(input.student.logits / t, 1);
    const at::Tensor log_q = at::log_softmax(input.teacher->logits / t, 1);
    const at::Tensor q = log_q.exp();
    const at::Tensor per_class = params_.form == Form::kKl ? q * (log_q - log_p) : -(q * log_p);
    double factor = params_.scale == Scale::kTemperatureSquared ? t * t : 1.0;
    factor /= static_cast<double>(params_.reduction == Reduction::kBatchMean ? log_p.size(0) : log_p.numel());
    return per_class.sum() * factor;
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "kd", SoftTargetLoss, "soft targets of a teacher at a temperature (Hinton et al., 2015)")
