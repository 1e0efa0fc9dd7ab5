// The optimizer "KD_NAME_HERE": plain gradient descent.
// Say here what yours computes, and cite the paper that it comes from.
#include "kd/optimizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include "kd/plugin.h"

namespace {

class KdClassHere final : public kd::Optimizer {
 public:
  // What recipes can set. Every parameter has its meaning, and a default unless the recipe must give it.
  struct Params {
    double lr = 0.1;

    static void schema(kd::Schema<Params>& s) {
      s.field("lr", &Params::lr, "learning rate; a schedule multiplies it").def(0.1).above(0);
    }
  };

  KdClassHere(const Params& params, const Context& context) : params_(params), parameters_(context.parameters) {}

  // Stay on the device: reading a number of a tensor here would make every step wait for the GPU.
  void step(const kd::OptimizerStep& step) override {
    const at::NoGradGuard no_grad;
    for (kd::NamedParameter& parameter : parameters_) {
      at::Tensor gradient = parameter.tensor.grad();
      if (!gradient.defined()) continue;
      if (step.found_inf.defined()) gradient = gradient.masked_fill(step.found_inf != 0, 0);
      parameter.tensor.add_(gradient, -params_.lr * step.factor);
    }
  }

  double learning_rate() const override { return params_.lr; }

  // Buffers that a checkpoint must keep, such as a momentum: {"momentum." + name, buffer}.
  std::map<std::string, at::Tensor> state() override { return {}; }

 private:
  const Params params_;
  std::vector<kd::NamedParameter> parameters_;
};

}  // namespace

// Recipes find the class under this name: optimizer = { type = "KD_NAME_HERE", lr = 0.1 }.
KD_REGISTER(kd::Optimizer, "KD_NAME_HERE", KdClassHere, "plain gradient descent")
