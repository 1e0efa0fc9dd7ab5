// Entropy-SGD: Chaudhari, Choromanska, Soatto, LeCun, Baldassi, Borgs, Chayes, Sagun and Zecchina, ICLR 2017, arXiv
// 1611.01838, as the authors' code has it. Of L batches each moves a copy w' by Langevin dynamics around the weights w,
// with momentum of its own: w' ← w' − r·(∇f(w') + γ·(w' − w) + ε/√(r/2)·N(0, 1)), and a mean μ ← a·μ + (1 − a)·w'
// follows it. Then w moves as by SGD with the gradient w − μ, and γ grows by its factor. A network that is evaluated
// within the L batches is w', near w. An epoch is L times an SGD's: the authors count it so.
//   optimizer = { type = "entropy_sgd", lr = 0.1, momentum = 0.9, steps = 20, scope = 0.03, scope_growth = 1e-3 }
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "kd/optimizer.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"

namespace {

class EntropySgd final : public kd::Optimizer {
 public:
  static constexpr kd::Published kPublished{
      .paper = "Chaudhari et al., ICLR 2017, arXiv 1611.01838",
      .result = "CIFAR-10 with scope 0.03, scope_growth 1e-3 and weight_decay 1e-3; MNIST with scope 1e-4"};

  struct Params {
    double lr = 0.1, momentum = 0.9, weight_decay = 0, inner_lr = 0.1, noise = 1e-4, scope = 0.03, scope_growth = 1e-3,
           average = 0.75;
    std::int64_t steps = 20;
    bool nesterov = true;

    static void schema(kd::Schema<Params>& s) {
      s.field("lr", &Params::lr, "learning rate of w; a schedule multiplies it").def(0.1).above(0);
      s.field("momentum", &Params::momentum, "of w and, apart from it, of w'").def(0.9).at_least(0).below(1);
      s.field("nesterov", &Params::nesterov, "look-ahead form of momentum").def(true);
      s.field("weight_decay", &Params::weight_decay, "λ of the L2 penalty λ/2·‖w‖², added to both gradients")
          .def(0.0)
          .at_least(0);
      s.field("steps", &Params::steps, "L: batches that move w', for one that moves w").def(20).at_least(1);
      s.field("inner_lr", &Params::inner_lr, "r: learning rate of w'").def(0.1).above(0);
      s.field("noise", &Params::noise, "ε of the Langevin noise").def(1e-4).at_least(0);
      s.field("scope", &Params::scope, "γ: how strongly w' is drawn to w").def(0.03).at_least(0);
      s.field("scope_growth", &Params::scope_growth, "γ is multiplied by 1 + this with every move of w")
          .def(1e-3)
          .at_least(0);
      s.field("average", &Params::average, "a: share of the mean of w' that is kept").def(0.75).at_least(0).below(1);
    }
  };

  EntropySgd(const Params& params, const Context& context)
      : params_(params),
        parameters_(context.parameters),
        key_(context.key),
        counters_(at::zeros({2}, at::TensorOptions().dtype(at::kLong))) {
    for (const kd::NamedParameter& parameter : parameters_) {
      const at::Tensor tensor = parameter.tensor.detach();
      centre_.push_back(tensor.clone());
      mean_.push_back(tensor.clone());
      inner_momentum_.push_back(at::zeros_like(tensor));
      outer_momentum_.push_back(at::zeros_like(tensor));
    }
  }

  void step(const kd::OptimizerStep& step) override {
    if (step.found_inf.defined())
      throw kd::Error("entropy_sgd does not take gradients of fp16; give the stage precision = \"bf16\" or \"fp32\"");
    const at::NoGradGuard no_grad;
    if (inner() == 0) begin_round();
    const double scope = params_.scope * std::pow(1 + params_.scope_growth, static_cast<double>(round()));
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      if (parameters_[i].tensor.grad().defined()) move_copy(i, scope);
    }
    if (++inner() < params_.steps) return;
    for (std::size_t i = 0; i < parameters_.size(); ++i) move_weights(i, step);
    inner() = 0;
    ++round();
  }

  double learning_rate() const override { return params_.lr; }

  std::map<std::string, at::Tensor> state() override {
    std::map<std::string, at::Tensor> state{{"counters", counters_}};
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const std::string& name = parameters_[i].name;
      state.emplace("centre." + name, centre_[i]);
      state.emplace("mean." + name, mean_[i]);
      state.emplace("inner_momentum." + name, inner_momentum_[i]);
      state.emplace("outer_momentum." + name, outer_momentum_[i]);
    }
    return state;
  }

 private:
  /// Batches of the round so far, and rounds: on the host, so that a restored state is read without waiting.
  std::int64_t& inner() { return counters_.mutable_data_ptr<std::int64_t>()[0]; }
  std::int64_t& round() { return counters_.mutable_data_ptr<std::int64_t>()[1]; }

  void begin_round() {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      centre_[i].copy_(parameters_[i].tensor);
      mean_[i].copy_(parameters_[i].tensor);
      inner_momentum_[i].zero_();
    }
  }

  /// The direction that SGD takes by this gradient.
  at::Tensor direction(const at::Tensor& gradient, const at::Tensor& weight, at::Tensor& momentum) const {
    const at::Tensor g = params_.weight_decay > 0 ? gradient + weight * params_.weight_decay : gradient;
    if (params_.momentum == 0) return g;
    momentum.mul_(params_.momentum).add_(g);
    return params_.nesterov ? g + momentum * params_.momentum : momentum.clone();
  }

  void move_copy(std::size_t i, double scope) {
    at::Tensor w = parameters_[i].tensor.detach();
    at::Tensor way = direction(parameters_[i].tensor.grad(), w, inner_momentum_[i]);
    way = way + (w - centre_[i]) * scope;
    if (params_.noise > 0) {
      const auto number = static_cast<std::uint64_t>(round() * params_.steps + inner());
      const at::Tensor zero = at::zeros({1}, w.options().dtype(at::kLong));
      const at::Tensor noise = kd::random_normal(key_.with(parameters_[i].name).with(number), zero, w.numel());
      way = way + noise.view(w.sizes()).to(w.scalar_type()) * (params_.noise / std::sqrt(0.5 * params_.inner_lr));
    }
    w.sub_(way, params_.inner_lr);
    mean_[i].mul_(params_.average).add_(w, 1 - params_.average);
  }

  void move_weights(std::size_t i, const kd::OptimizerStep& step) {
    at::Tensor w = parameters_[i].tensor.detach();
    w.copy_(centre_[i]);
    const at::Tensor way = direction(w - mean_[i], w, outer_momentum_[i]);
    step.rate.defined() ? w.sub_(way * step.rate.to(way.scalar_type())) : w.sub_(way, params_.lr * step.factor);
  }

  const Params params_;
  const std::vector<kd::NamedParameter> parameters_;
  const kd::RandomKey key_;
  std::vector<at::Tensor> centre_, mean_, inner_momentum_, outer_momentum_;
  at::Tensor counters_;
};

}  // namespace

KD_REGISTER(
    kd::Optimizer, "entropy_sgd", EntropySgd,
    "SGD towards wide valleys: a mean over Langevin dynamics around the weights gives the gradient (Entropy-SGD)")
