// What the fused optimizers share: the lists of tensors that one call of a fused kernel updates.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kd/diagnostics.h"
#include "kd/optimizer.h"

namespace fused {

/// Whether both tensors, of one shape, lie in memory in the same order; the stride of a dimension of size 1 is
/// arbitrary.
inline bool same_memory_order(const at::Tensor& a, const at::Tensor& b) {
  for (std::int64_t i = 0; i < a.dim(); ++i) {
    if (a.size(i) != 1 && a.stride(i) != b.stride(i)) return false;
  }
  return true;
}

/// The gradient with the strides of its parameter. The fused CPU kernels walk through memory without looking at
/// strides, and the CUDA kernels refuse unequal ones.
inline at::Tensor in_layout_of(const at::Tensor& parameter, const at::Tensor& gradient) {
  if (gradient.strides() == parameter.strides()) return gradient;
  if (same_memory_order(parameter, gradient)) return gradient.as_strided(parameter.sizes(), parameter.strides());
  return at::empty_like(parameter).copy_(gradient);
}

/// Parallel lists, in the order of the parameters.
struct Lists {
  std::vector<at::Tensor> parameters, gradients;
  std::vector<std::vector<at::Tensor>> buffers;  ///< one list per kind of buffer
  std::vector<at::Tensor> steps;                 ///< how often each was updated; 0-dimensional floats
};

/// Parameters with the same weight decay, and their buffers.
class ParameterGroup {
 public:
  ParameterGroup(std::vector<kd::NamedParameter> parameters, double weight_decay, std::vector<std::string> buffer_names)
      : named_(std::move(parameters)), weight_decay_(weight_decay), buffer_names_(std::move(buffer_names)) {
    const at::Tensor& first = named_.front().tensor;
    step_counts_ = at::zeros({static_cast<std::int64_t>(named_.size())}, first.options().dtype(at::kFloat));
    buffers_.resize(buffer_names_.size());
    for (const kd::NamedParameter& parameter : named_) {
      if (!parameter.tensor.is_non_overlapping_and_dense()) {
        throw kd::Error("parameter '" + parameter.name + "' has gaps or overlaps in memory");
      }
      for (auto& list : buffers_) list.push_back(at::zeros_like(parameter.tensor.detach()));
    }
    active_lists_.buffers.resize(buffers_.size());
  }

  double weight_decay() const { return weight_decay_; }

  /// The lists of the parameters that have a gradient; valid until the next call. Empty where none has.
  Lists& gather() {
    std::vector<std::size_t> active;
    active.reserve(named_.size());
    for (std::size_t i = 0; i < named_.size(); ++i) {
      if (named_[i].tensor.grad().defined()) active.push_back(i);
    }
    if (active != active_) select(std::move(active));
    for (const std::size_t i : active_) {
      const at::Tensor& parameter = named_[i].tensor;
      if (!buffers_.empty() && buffers_.front()[i].strides() != parameter.strides()) {
        throw kd::Error("the memory layout of parameter '" + named_[i].name + "' changed after its optimizer was made");
      }
      active_lists_.gradients.push_back(in_layout_of(parameter, parameter.grad()));
    }
    return active_lists_;
  }

  /// Lets go of the gradients, so that their memory is free once the engine drops them.
  void release() { active_lists_.gradients.clear(); }

  /// Counts an update of the gathered parameters.
  void count_step() {
    for (at::Tensor& counter : counters_) counter.add_(1);
  }
  /// Takes the count back where a gradient overflowed. `found_inf` may be undefined.
  void uncount_if(const at::Tensor& found_inf) {
    if (!found_inf.defined()) return;
    const at::Tensor skipped = found_inf.squeeze().sign();
    for (at::Tensor& counter : counters_) counter.sub_(skipped);
  }

  void add_buffers_to(std::map<std::string, at::Tensor>& state) const {
    for (std::size_t kind = 0; kind < buffers_.size(); ++kind) {
      for (std::size_t i = 0; i < named_.size(); ++i) {
        state.emplace(buffer_names_[kind] + "." + named_[i].name, buffers_[kind][i]);
      }
    }
  }
  void add_steps_to(std::map<std::string, at::Tensor>& state) const {
    for (std::size_t i = 0; i < named_.size(); ++i) state.emplace("step." + named_[i].name, step_of(i));
  }

 private:
  at::Tensor step_of(std::size_t i) const { return step_counts_.select(0, static_cast<std::int64_t>(i)); }

  void select(std::vector<std::size_t> active) {
    active_ = std::move(active);
    active_lists_.parameters.clear();
    active_lists_.steps.clear();
    for (auto& list : active_lists_.buffers) list.clear();
    for (const std::size_t i : active_) {
      active_lists_.parameters.push_back(named_[i].tensor);
      active_lists_.steps.push_back(step_of(i));
      for (std::size_t kind = 0; kind < buffers_.size(); ++kind) {
        active_lists_.buffers[kind].push_back(buffers_[kind][i]);
      }
    }
    // One kernel counts for all parameters, which is the usual case.
    counters_ = active_.size() == named_.size() ? std::vector<at::Tensor>{step_counts_} : active_lists_.steps;
  }

  std::vector<kd::NamedParameter> named_;
  double weight_decay_;
  std::vector<std::string> buffer_names_;
  std::vector<std::vector<at::Tensor>> buffers_;
  at::Tensor step_counts_;  ///< one number per parameter
  std::vector<std::size_t> active_;
  Lists active_lists_;
  std::vector<at::Tensor> counters_;
};

/// One group, or two where norms and biases (parameters of at most one dimension) are not decayed. Groups are not
/// empty.
inline std::vector<ParameterGroup> make_groups(const std::vector<kd::NamedParameter>& parameters, double weight_decay,
                                               bool decay_norms_and_biases,
                                               const std::vector<std::string>& buffer_names) {
  std::vector<kd::NamedParameter> decayed, plain;
  for (const kd::NamedParameter& parameter : parameters) {
    const bool decays = decay_norms_and_biases || parameter.tensor.dim() > 1;
    (decays ? decayed : plain).push_back(parameter);
  }
  std::vector<ParameterGroup> groups;
  if (!decayed.empty()) groups.emplace_back(std::move(decayed), weight_decay, buffer_names);
  if (!plain.empty()) groups.emplace_back(std::move(plain), 0.0, buffer_names);
  return groups;
}

}  // namespace fused
