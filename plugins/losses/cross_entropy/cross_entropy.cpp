// Cross-entropy with the labels, mixed or smoothed (Szegedy et al., arXiv 1512.00567, §7). The mean is over labelled
// samples.
//   losses = [{ type = "cross_entropy", label_smoothing = 0.0, rescale = false }]
#include <ATen/TensorOperators.h>
#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/_log_softmax_backward_data.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/nll_loss_backward.h>
#include <ATen/ops/nll_loss_forward.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kd/labels.h"
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

/// Mean of −log p(label) over labelled rows, 0 where there are none; at::cross_entropy_loss gives NaN there. One
/// autograd node, since with small batches nodes and kernel starts are what costs.
class HardLabelFunction final : public torch::autograd::Function<HardLabelFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& logits,
                            const at::Tensor& labels) {
    const at::Tensor log_p = at::_log_softmax(logits, 1, false);
    auto [sum, count] = at::nll_loss_forward(log_p, labels, {}, at::Reduction::Sum, kd::kUnlabelled);
    count.clamp_min_(1);
    context->save_for_backward({log_p, labels, count});
    return sum.div_(count);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& log_p = saved[0];
    const at::Tensor by_log_p =
        at::nll_loss_backward(gradients[0], log_p, saved[1], {}, at::Reduction::Mean, kd::kUnlabelled, saved[2]);
    return {at::_log_softmax_backward_data(by_log_p, log_p, 1, log_p.scalar_type()), at::Tensor()};
  }
};

class CrossEntropy final : public kd::Loss {
 public:
  struct Params {
    double label_smoothing = 0;
    bool rescale = false;

    static void schema(kd::Schema<Params>& s) {
      s.field("label_smoothing", &Params::label_smoothing, "ε: the target is (1 − ε)·label + ε/C, with C classes")
          .def(0.0)
          .at_least(0)
          .below(1);
      s.field("rescale", &Params::rescale,
              "takes the loss of z/σ, where σ is the standard deviation of a sample's logits z over the classes "
              "(unbiased, with gradient): the label term of MIX-KD (Choi et al., WACV 2023)")
          .def(false);
    }
  };

  explicit CrossEntropy(const Params& params) : params_(params) {}

  bool labelled_rows_only() const override { return true; }
  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const at::Tensor given = kd::precise(input.student.logits);
    const at::Tensor scored = params_.rescale ? kd::rescale_logits(given) : given;
    if (params_.label_smoothing == 0 && !input.batch.targets.mixed()) {
      return HardLabelFunction::apply(scored, input.batch.targets.labels);
    }
    return soft_label_loss(scored, input.batch.targets);
  }

 private:
  at::Tensor soft_label_loss(const at::Tensor& scored, const kd::Targets& targets) const {
    const at::Tensor log_p = at::log_softmax(scored, 1);
    at::Tensor rows = kd::label_losses(log_p, targets);
    const double smoothing = params_.label_smoothing;
    if (smoothing > 0) rows = rows * (1 - smoothing) - log_p.mean(1) * smoothing;
    return kd::labelled_mean(rows, targets);
  }

  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "cross_entropy", CrossEntropy, "cross-entropy with the labels, which may be mixed or smoothed")
