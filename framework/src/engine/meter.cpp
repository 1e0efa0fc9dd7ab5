// meter.h
#include "engine/meter.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

namespace kd {
namespace {

constexpr const char* kSamples = "samples";
constexpr const char* kLabelled = "labelled";  // samples that an accuracy is a share of

/// Hits of a batch; of mixed targets, each of the two labels counts by its weight (Zhang et al., arXiv 1710.09412).
at::Tensor count_hits(const at::Tensor& logits, const Targets& targets) {
  const at::Tensor predicted = logits.argmax(1);
  const at::Tensor hits = predicted.eq(targets.labels);
  if (!targets.mixed()) return hits.sum();
  return (hits * targets.weight + predicted.eq(targets.partner) * (1 - targets.weight)).sum();
}

}  // namespace

void TrainingMeter::accumulate(const std::string& name, const at::Tensor& value, double factor) {
  auto& sum = sums_[name];
  if (!sum.defined()) sum = at::zeros({}, value.options().dtype(at::kDouble).requires_grad(false));
  sum.add_(value.detach(), factor);
}

void TrainingMeter::add(const std::vector<Term>& terms, const at::Tensor& logits, const Targets& targets) {
  const at::NoGradGuard no_grad;
  const auto samples = static_cast<double>(logits.size(0));
  for (const Term& term : terms) {
    accumulate("loss/" + term.name, term.value, samples);
    accumulate("loss", term.value, samples * term.weight);
  }
  accumulate("top1", count_hits(logits, targets), 1);
  accumulate(kLabelled, targets.labels.ge(0).sum(), 1);
  auto& count = sums_[kSamples];
  if (!count.defined()) count = at::zeros({}, logits.options().dtype(at::kDouble).requires_grad(false));
  count.add_(samples);
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
  for (const auto& [name, sum] : sums_) means[name] = *value++;
  const double samples = means.at(kSamples);
  const double labelled = means.at(kLabelled);
  means.erase(kSamples);
  means.erase(kLabelled);
  if (labelled == 0) means.erase("top1");  // there is no accuracy of what has no label
  for (auto& [name, mean] : means) mean /= name == "top1" ? labelled : samples;
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
