// Soft-target distillation: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
#include <ATen/TensorOperators.h>
#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/dot.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

enum class Form { kKl, kCrossEntropy };
enum class Scale { kTemperatureSquared, kNone };
enum class Reduction { kBatchMean, kMean };

/// `given` in the precision that losses are computed in.
at::Tensor precise(const at::Tensor& given) {
  return given.scalar_type() == at::kDouble ? given : given.to(at::kFloat);
}

at::Tensor log_softmax_at(const at::Tensor& logits, double temperature) {
  return at::_log_softmax(temperature == 1 ? logits : logits / temperature, 1, false);
}

/// factor · Σ of the divergence, with the gradient factor/T · (p − q) in closed form: with small batches nodes and
/// kernel starts are what costs, and automatic differentiation takes 1.6 times as long at 32×10. The teacher gets no
/// gradient.
class SoftTargetFunction final : public torch::autograd::Function<SoftTargetFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& student,
                            const at::Tensor& teacher, double temperature, double factor, bool less_entropy) {
    const at::Tensor log_p = log_softmax_at(student, temperature);
    at::Tensor log_q = log_softmax_at(teacher, temperature);
    const at::Tensor q = log_q.exp();
    const at::Tensor per_class = less_entropy ? log_q.sub_(log_p) : log_p.neg();
    const at::Tensor value = at::dot(q.view(-1), per_class.view(-1)).mul_(factor);
    context->save_for_backward({log_p.exp().sub_(q).mul_(factor / temperature)});
    return value;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    return {context->get_saved_variables()[0] * gradients[0], {}, {}, {}, {}};
  }
};

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
    const at::Tensor student = precise(input.student.logits);
    const at::Tensor teacher = precise(input.teacher->logits).to(student.scalar_type());
    const double t = params_.temperature;
    double factor = params_.scale == Scale::kTemperatureSquared ? t * t : 1.0;
    factor /= static_cast<double>(params_.reduction == Reduction::kBatchMean ? student.size(0) : student.numel());
    return SoftTargetFunction::apply(student, teacher, t, factor, params_.form == Form::kKl);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "kd", SoftTargetLoss, "soft targets of a teacher at a temperature (Hinton et al., 2015)")
