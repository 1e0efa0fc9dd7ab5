// Stochastic gradient descent with momentum, as torch.optim.SGD defines it, in one fused kernel. Nesterov's form
// follows Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
//   optimizer = { type = "sgd", lr = 0.05, momentum = 0.9, weight_decay = 5e-4, nesterov = true }
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/add.h>
#include <ATen/ops/where.h>

#include "../shared/parameter_group.h"
#include "kd/optimizer.h"
#include "kd/plugin.h"

namespace {

class Sgd final : public kd::Optimizer {
 public:
  struct Params {
    double lr = 0.1;
    double momentum = 0;
    double dampening = 0;
    double weight_decay = 0;
    bool nesterov = false;
    bool decay_norms_and_biases = true;

    static void schema(kd::Schema<Params>& s) {
      s.field("lr", &Params::lr, "learning rate; a schedule multiplies it").def(0.1).above(0);
      s.field("momentum", &Params::momentum, "share of the last update's direction that is kept, 0 for none")
          .def(0.0)
          .at_least(0)
          .below(1);
      s.field("dampening", &Params::dampening, "the gradient enters the momentum buffer times 1 − dampening")
          .def(0.0)
          .range(0, 1);
      s.field("weight_decay", &Params::weight_decay, "λ of the L2 penalty λ/2·‖w‖², added to the gradient")
          .def(0.0)
          .at_least(0);
      s.field("nesterov", &Params::nesterov, "look-ahead form of momentum; needs momentum > 0 and dampening 0")
          .def(false);
      s.field("decay_norms_and_biases", &Params::decay_norms_and_biases,
              "whether weight decay also acts on parameters of one dimension: biases and the scales of norms")
          .def(true);
    }
  };

  Sgd(const Params& params, const Context& context) : params_(params) {
    if (params_.nesterov && (params_.momentum == 0 || params_.dampening != 0)) {
      throw kd::RecipeError("nesterov = true needs momentum > 0 and dampening = 0");
    }
    const std::vector<std::string> buffers =
        params_.momentum > 0 ? std::vector<std::string>{"momentum"} : std::vector<std::string>{};
    groups_ = fused::make_groups(context.parameters, params_.weight_decay, params_.decay_norms_and_biases, buffers);
  }

  void step(const kd::OptimizerStep& step) override {
    const at::NoGradGuard no_grad;
    for (fused::ParameterGroup& group : groups_) update(group, step);
  }

  bool recordable() const override { return true; }
  double learning_rate() const override { return params_.lr; }

  std::map<std::string, at::Tensor> state() override {
    std::map<std::string, at::Tensor> state;
    for (const fused::ParameterGroup& group : groups_) {
      group.add_buffers_to(state);
      if (dampens()) group.add_steps_to(state);
    }
    return state;
  }

 private:
  bool dampens() const { return params_.momentum > 0 && params_.dampening > 0; }

  void update(fused::ParameterGroup& group, const kd::OptimizerStep& step) {
    const fused::Lists& lists = group.gather();
    if (lists.parameters.empty()) return;
    if (dampens()) start_momentum(lists, group.weight_decay());
    // A momentum buffer of zeros makes the first step a step like any other, so the kernel need not know of it.
    const auto apply = [&](const auto& rate) {
      at::_fused_sgd_(lists.parameters, lists.gradients,
                      lists.buffers.empty() ? at::TensorList() : lists.buffers.front(), group.weight_decay(),
                      params_.momentum, rate, params_.dampening, params_.nesterov,
                      /*maximize=*/false, /*is_first_step=*/false, /*grad_scale=*/{},
                      step.found_inf.defined() ? std::optional<at::Tensor>(step.found_inf) : std::nullopt);
    };
    step.rate.defined() ? apply(step.rate) : apply(params_.lr * step.factor);
    if (dampens()) {
      group.count_step();
      group.uncount_if(step.found_inf);
    }
    group.release();
  }

  /// The first gradient of a parameter enters its buffer undamped: the kernel makes it μ·b + (1 − d)·g, so b = d/μ·g.
  /// Whether it is the first is known on the device only, because an overflow may have skipped the step before.
  void start_momentum(const fused::Lists& lists, double weight_decay) const {
    for (std::size_t i = 0; i < lists.parameters.size(); ++i) {
      at::Tensor buffer = lists.buffers.front()[i];
      const at::Tensor gradient = at::add(lists.gradients[i], lists.parameters[i], weight_decay);
      buffer.copy_(at::where(lists.steps[i] == 0, gradient * (params_.dampening / params_.momentum), buffer));
    }
  }

  const Params params_;
  std::vector<fused::ParameterGroup> groups_;
};

}  // namespace

KD_REGISTER(kd::Optimizer, "sgd", Sgd, "stochastic gradient descent with momentum, Nesterov's form and weight decay")
