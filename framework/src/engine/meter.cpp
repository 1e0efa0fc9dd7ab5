// meter.h
#include "engine/meter.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "kd/labels.h"

namespace kd {
namespace {

// What sums are over: all samples, or those with a label. The count itself is a sum without a name.
constexpr const char* kSamples = "samples.";
constexpr const char* kLabelled = "labelled.";

/// Hits of each row; of mixed targets, each of the two labels counts by its weight (Zhang et al., arXiv 1710.09412).
at::Tensor find_hits(const at::Tensor& logits, const Targets& targets) {
  const at::Tensor predicted = logits.argmax(1);
  const at::Tensor hits = predicted.eq(targets.labels);
  if (!targets.mixed()) return hits;
  return hits * targets.weight + predicted.eq(targets.partner) * (1 - targets.weight);
}

void accumulate(at::Tensor& sum, const at::Tensor& value, double factor) {
  if (!sum.defined()) sum = at::zeros({}, value.options().dtype(at::kDouble).requires_grad(false));
  sum.add_(value, factor);
}

}  // namespace

void TrainingMeter::add(const std::vector<Term>& terms, const at::Tensor& logits, const Targets& targets,
                        bool all_labelled) {
  const at::NoGradGuard no_grad;
  const auto samples = static_cast<double>(logits.size(0));
  const at::Tensor with_label = all_labelled ? at::Tensor() : labelled_rows(targets);
  const at::Tensor labelled = all_labelled ? at::Tensor() : with_label.sum(at::kDouble);
  for (const Term& term : terms) {
    const bool counted = term.labelled_rows_only && !all_labelled;
    const std::string over = term.labelled_rows_only ? kLabelled : kSamples;
    const at::Tensor value = counted ? term.value.detach() * labelled : term.value.detach();
    const double rows = counted ? 1 : samples;
    accumulate(sums_[over + "loss/" + term.name], value, rows);
    accumulate(sums_[over + "loss"], value, rows * term.weight);
  }
  at::Tensor hits = find_hits(logits, targets);
  if (targets.mixed() && !all_labelled) hits = hits * with_label;  // nothing else hits what is no class
  accumulate(sums_[std::string(kLabelled) + "top1"], hits.sum(), 1);
  for (const char* over : {kSamples, kLabelled}) {
    at::Tensor& count = sums_[over];
    if (!count.defined()) count = at::zeros({}, logits.options().dtype(at::kDouble).requires_grad(false));
  }
  sums_[kSamples].add_(samples);
  if (all_labelled) {
    sums_[kLabelled].add_(samples);
  } else {
    sums_[kLabelled].add_(labelled);
  }
}

std::map<std::string, double> TrainingMeter::means(Group& group) const {
  std::map<std::string, double> means;
  if (sums_.empty()) return means;
  std::vector<at::Tensor> all;
  for (const auto& [name, sum] : sums_) all.push_back(sum.to(sums_.begin()->second.device()));
  const at::Tensor sums = at::stack(all);
  group.sum({sums});
  const at::Tensor values = sums.cpu();
  const double* value = values.const_data_ptr<double>();
  std::map<std::string, double> found;
  for (const auto& [name, sum] : sums_) found[name] = *value++;
  for (const std::string over : {kSamples, kLabelled}) {
    const double rows = std::max(found.at(over), 1.0);  // over none, the sums are 0
    for (const auto& [name, sum] : found) {
      if (name.starts_with(over) && name != over) means[name.substr(over.size())] += sum / rows;
    }
  }
  if (found.at(kLabelled) == 0) means.erase("top1");  // there is no accuracy of what has no label
  return means;
}

TensorMap TrainingMeter::state(const std::string& prefix, Group& group) const {
  TensorMap state;
  std::vector<at::Tensor> sums;
  for (const auto& [name, sum] : sums_) sums.push_back(state[prefix + name] = sum.clone());
  group.sum(sums);
  return state;
}

void TrainingMeter::restore(const std::string& prefix, const TensorMap& state) {
  sums_.clear();
  for (const auto& [name, sum] : state) {
    if (name.starts_with(prefix)) sums_[name.substr(prefix.size())] = sum.clone();
  }
}

}  // namespace kd
