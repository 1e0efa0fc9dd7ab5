// A rule that turns gradients into new parameters. Only the engine calls it.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/random.h"

namespace kd {

struct KD_API NamedParameter {
  std::string name;
  at::Tensor tensor;
};

/// One update: the learning rate is the declared one times `factor`.
struct KD_API OptimizerStep {
  double factor = 1;
  /// The same learning rate as a float scalar on the device, for kernels that read it there: the host then puts no
  /// number into a step that changes from one to the next. Undefined on the CPU.
  at::Tensor rate = {};
  at::Tensor found_inf;  ///< fp16 only: one float, not 0 where a gradient overflowed and the step must do nothing
  /// For an optimizer that separates_teachers(): the gradients of the terms that compare with teachers, in the order of
  /// the parameters, undefined where there is none. Those of the parameters are then of the other terms alone.
  std::vector<at::Tensor> teacher_gradients = {};
};

class KD_API Optimizer {
 public:
  static constexpr const char* kKind = "optimizer";
  struct Context {
    std::vector<NamedParameter> parameters;
    RandomKey key = {};  ///< for what is random in it
  };

  virtual ~Optimizer();
  /// Updates every parameter that has a gradient.
  virtual void step(const OptimizerStep& step) = 0;
  /// See Scheme::recordable(): only where on a GPU the learning rate comes from OptimizerStep::rate, and what it counts
  /// is counted there.
  virtual bool recordable() const { return false; }
  /// Whether it wants the gradients of what teachers teach apart from those of the task.
  virtual bool separates_teachers() const { return false; }
  /// The declared learning rate.
  virtual double learning_rate() const = 0;
  /// Its buffers by name ("momentum.fc1.weight"), for checkpoints. Changing them changes the optimizer.
  virtual std::map<std::string, at::Tensor> state() = 0;
};

}  // namespace kd
