// Adam and AdamW, which differ only in where weight decay enters: as torch.optim defines them, in one fused kernel.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>

#include <type_traits>

#include "../shared/parameter_group.h"
#include "kd/optimizer.h"
#include "kd/plugin.h"

namespace fused {

enum class Decay { kPenalty, kDecoupled };

template <Decay kDecay>
class Adam final : public kd::Optimizer {
 public:
  struct Params {
    double lr = 1e-3;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double eps = 1e-8;
    double weight_decay = 0;
    bool decay_norms_and_biases = true;

    static void schema(kd::Schema<Params>& s) {
      s.field("lr", &Params::lr, "learning rate; a schedule multiplies it").def(1e-3).above(0);
      s.field("beta1", &Params::beta1, "decay rate of the running mean of gradients, per step")
          .def(0.9)
          .at_least(0)
          .below(1);
      s.field("beta2", &Params::beta2, "decay rate of the running mean of squared gradients, per step")
          .def(0.999)
          .at_least(0)
          .below(1);
      s.field("eps", &Params::eps, "added to the root of the second moment").def(1e-8).at_least(0);
      s.field("weight_decay", &Params::weight_decay,
              kDecay == Decay::kDecoupled ? "λ: every step multiplies the weights by 1 − lr·λ"
                                          : "λ of the L2 penalty λ/2·‖w‖², added to the gradient")
          .def(kDecay == Decay::kDecoupled ? 1e-2 : 0.0)
          .at_least(0);
      s.field("decay_norms_and_biases", &Params::decay_norms_and_biases,
              "whether weight decay also acts on parameters of one dimension: biases and the scales of norms")
          .def(true);
    }
  };

  Adam(const Params& params, const Context& context)
      : params_(params),
        groups_(
            make_groups(context.parameters, params.weight_decay, params.decay_norms_and_biases, {"mean", "square"})) {}

  void step(const kd::OptimizerStep& step) override {
    const at::NoGradGuard no_grad;
    for (ParameterGroup& group : groups_) update(group, step);
  }

  bool recordable() const override { return true; }
  double learning_rate() const override { return params_.lr; }

  std::map<std::string, at::Tensor> state() override {
    std::map<std::string, at::Tensor> state;
    for (const ParameterGroup& group : groups_) {
      group.add_buffers_to(state);
      group.add_steps_to(state);
    }
    return state;
  }

 private:
  void update(ParameterGroup& group, const kd::OptimizerStep& step) {
    const Lists& lists = group.gather();
    if (lists.parameters.empty()) return;
    group.count_step();
    const auto apply = [&](const auto& rate) {
      using Rate = std::remove_cvref_t<decltype(rate)>;
      using Kernel = KernelWith<std::conditional_t<std::is_same_v<Rate, double>, double, const at::Tensor&>>;
      constexpr auto kKernel = kDecay == Decay::kDecoupled ? static_cast<Kernel*>(&at::_fused_adamw_)
                                                           : static_cast<Kernel*>(&at::_fused_adam_);
      kKernel(lists.parameters, lists.gradients, lists.buffers[0], lists.buffers[1], /*max_exp_avg_sqs=*/{},
              lists.steps, rate, params_.beta1, params_.beta2, group.weight_decay(), params_.eps,
              /*amsgrad=*/false,
              /*maximize=*/false, /*grad_scale=*/{},
              step.found_inf.defined() ? std::optional<at::Tensor>(step.found_inf) : std::nullopt);
    };
    step.rate.defined() ? apply(step.rate) : apply(params_.lr * step.factor);
    group.uncount_if(step.found_inf);
    group.release();
  }

  template <class Rate>
  using KernelWith = void(at::TensorList, at::TensorList, at::TensorList, at::TensorList, at::TensorList,
                          at::TensorList, Rate, double, double, double, double, bool, bool,
                          const std::optional<at::Tensor>&, const std::optional<at::Tensor>&);

  const Params params_;
  std::vector<ParameterGroup> groups_;
};

}  // namespace fused
