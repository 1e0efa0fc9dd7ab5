// The distillation-oriented trainer: Zhao, Cui, Song and Liang, "DOT: A Distillation-Oriented Trainer", ICCV 2023,
// arXiv 2307.08436. The gradients of the task and of what teachers teach have momentum buffers of their own, of
// momentum μ − Δ and μ + Δ: w ← w − lr·v_task, then w ← w − lr·v_teacher. Weight decay is the task's. A parameter that
// only one of them reaches moves with momentum μ, and is decayed all the same.
//   optimizer = { type = "dot", lr = 0.05, momentum = 0.9, delta = 0.075, weight_decay = 5e-4 }
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "../shared/parameter_group.h"
#include "kd/optimizer.h"
#include "kd/plugin.h"

namespace {

class Dot final : public kd::Optimizer {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Zhao et al., ICCV 2023, arXiv 2307.08436",
      .result = "CIFAR-100, resnet32x4 → resnet8x4 with kd: 75.12 % top-1, vgg13 → vgg8: 73.77 %"};

  struct Params {
    double lr = 0.05, momentum = 0.9, delta = 0.075, weight_decay = 5e-4;

    static void schema(kd::Schema<Params>& s) {
      s.field("lr", &Params::lr, "learning rate; a schedule multiplies it").def(0.05).above(0);
      s.field("momentum", &Params::momentum, "μ: share of the last update's direction that is kept")
          .def(0.9)
          .range(0, 1);
      s.field("delta", &Params::delta, "Δ: the task's momentum is μ − Δ, that of what teachers teach μ + Δ")
          .def(0.075)
          .at_least(0);
      s.field("weight_decay", &Params::weight_decay, "λ of the L2 penalty λ/2·‖w‖², added to the task's gradient")
          .def(5e-4)
          .at_least(0);
    }
  };

  Dot(const Params& params, const Context& context) : params_(params), parameters_(context.parameters) {
    if (params.momentum - params.delta < 0 || params.momentum + params.delta >= 1)
      throw kd::RecipeError("momentum − delta and momentum + delta must be in [0, 1)");
    for (const kd::NamedParameter& parameter : parameters_) {
      task_.push_back(at::zeros_like(parameter.tensor.detach()));
      taught_.push_back(at::zeros_like(parameter.tensor.detach()));
    }
  }

  bool separates_teachers() const override { return true; }
  double learning_rate() const override { return params_.lr; }

  void step(const kd::OptimizerStep& step) override {
    const at::NoGradGuard no_grad;
    Lists task, taught, task_alone, taught_alone;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const at::Tensor& of_task = parameters_[i].tensor.grad();
      const at::Tensor of_teachers = i < step.teacher_gradients.size() ? step.teacher_gradients[i] : at::Tensor();
      const bool both = of_task.defined() && of_teachers.defined();
      if (of_task.defined()) add(both ? task : task_alone, i, of_task, task_[i]);
      if (of_teachers.defined()) add(both ? taught : taught_alone, i, of_teachers, taught_[i]);
    }
    // The task's first: its decay is that of the weights before the step.
    update(task, params_.momentum - params_.delta, params_.weight_decay, step);
    update(task_alone, params_.momentum, params_.weight_decay, step);
    update(taught, params_.momentum + params_.delta, 0, step);
    update(taught_alone, params_.momentum, params_.weight_decay, step);
  }

  std::map<std::string, at::Tensor> state() override {
    std::map<std::string, at::Tensor> state;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      state.emplace("task_momentum." + parameters_[i].name, task_[i]);
      state.emplace("teacher_momentum." + parameters_[i].name, taught_[i]);
    }
    return state;
  }

 private:
  /// Parallel lists.
  struct Lists {
    std::vector<at::Tensor> parameters, gradients, momenta;
  };

  void add(Lists& lists, std::size_t i, const at::Tensor& gradient, const at::Tensor& momentum) {
    lists.parameters.push_back(parameters_[i].tensor);
    lists.gradients.push_back(fused::in_layout_of(parameters_[i].tensor, gradient));
    lists.momenta.push_back(momentum);
  }

  void update(const Lists& lists, double momentum, double weight_decay, const kd::OptimizerStep& step) const {
    if (lists.parameters.empty()) return;
    const auto apply = [&](const auto& rate) {
      at::_fused_sgd_(lists.parameters, lists.gradients, lists.momenta, weight_decay, momentum, rate, /*dampening=*/0,
                      /*nesterov=*/false, /*maximize=*/false, /*is_first_step=*/false, /*grad_scale=*/{},
                      step.found_inf.defined() ? std::optional<at::Tensor>(step.found_inf) : std::nullopt);
    };
    step.rate.defined() ? apply(step.rate) : apply(params_.lr * step.factor);
  }

  const Params params_;
  const std::vector<kd::NamedParameter> parameters_;
  std::vector<at::Tensor> task_, taught_;  // momentum buffers
};

}  // namespace

KD_REGISTER(kd::Optimizer, "dot", Dot,
            "SGD with separate momenta for the task and for what teachers teach (distillation-oriented trainer)")
