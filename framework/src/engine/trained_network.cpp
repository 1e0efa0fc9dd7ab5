// trained_network.h
#include "engine/trained_network.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_amp_update_scale.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/utils.h>

#include <algorithm>

#include "engine/device.h"
#include "engine/evaluation.h"
#include "kd/logits.h"
#include "kd/plugin.h"

namespace kd {
namespace {

constexpr double kFirstScale = 65536;  // of fp16 gradients, as PyTorch's GradScaler
constexpr std::int64_t kScaleGrowthInterval = 2000;

}  // namespace

TrainedNetwork::TrainedNetwork(std::string name, std::unique_ptr<Model> model, const Placement& placement,
                               RandomKey key, const std::vector<std::string>& frozen, Group& group)
    : name_(std::move(name)),
      model_(std::move(model)),
      placement_(placement),
      key_(key.with("passes")),
      group_(&group) {
  model_->module()->train();
  freeze(frozen);
  gather_buffers();
}

TrainedNetwork::~TrainedNetwork() = default;

namespace {

[[noreturn]] void refuse_part(const std::string& key, const std::string& part, const std::string& network,
                              const std::vector<std::string>& names) {
  throw RecipeError({}, fmt::format("{}: network '{}' has no part '{}'", key, network, part),
                    name_hint(part, first_parts(names),
                              "parts are named by the beginnings of its parameters' names, "
                              "such as"));
}

}  // namespace

void TrainedNetwork::freeze(const std::vector<std::string>& parts) {
  const auto module = model_->module();
  for (const std::string& part : parts) {
    bool found = false;
    for (auto& parameter : module->named_parameters()) {
      if (!is_below(parameter.key(), part)) continue;
      parameter.value().set_requires_grad(false);
      found = true;
    }
    for (const auto& item : module->named_modules()) {
      if (is_below(item.key(), part)) item.value()->eval();
    }
    if (!found) refuse_part("freeze", part, name_, state_names(*model_));
  }
}

namespace {

/// The counter of a batch norm with a fixed momentum, whose own handle on it is let go: it then counts nothing itself.
template <class BatchNorm>
at::Tensor take_counter(torch::nn::Module& module) {
  auto* norm = dynamic_cast<BatchNorm*>(&module);
  if (norm == nullptr || !norm->options.momentum().has_value()) return {};
  at::Tensor counter = norm->num_batches_tracked;
  norm->num_batches_tracked.reset();
  return counter;
}

}  // namespace

void TrainedNetwork::gather_buffers() {
  const auto module = model_->module();
  for (const auto& part : module->modules(/*include_self=*/true)) {
    if (!part->is_training()) continue;
    for (const at::Tensor& counter :
         {take_counter<torch::nn::BatchNorm1dImpl>(*part), take_counter<torch::nn::BatchNorm2dImpl>(*part),
          take_counter<torch::nn::BatchNorm3dImpl>(*part)}) {
      if (counter.defined()) batch_counters_.push_back(counter);
    }
  }
  const auto is_counter = [this](const at::Tensor& buffer) {
    return std::any_of(batch_counters_.begin(), batch_counters_.end(),
                       [&](const at::Tensor& counter) { return counter.is_same(buffer); });
  };
  for (const at::Tensor& buffer : module->buffers()) {
    if (!is_counter(buffer)) buffers_.push_back(buffer);
  }
}

Outputs TrainedNetwork::forward(const at::Tensor& images, const TapRequest& taps) {
  Outputs outputs = pass(images, taps);
  const torch::NoGradGuard no_grad;
  if (!batch_counters_.empty()) at::_foreach_add_(batch_counters_, 1);
  return outputs;
}

Outputs TrainedNetwork::answer(const at::Tensor& images, const TapRequest& taps) {
  const torch::NoGradGuard no_grad;
  if (buffers_.empty()) return pass(images, taps);
  if (saved_buffers_.empty()) {
    for (const at::Tensor& buffer : buffers_) saved_buffers_.push_back(buffer.clone());
  } else {
    at::_foreach_copy_(saved_buffers_, buffers_);
  }
  Outputs outputs = pass(images, taps);
  at::_foreach_copy_(buffers_, saved_buffers_);
  return outputs;
}

Outputs TrainedNetwork::pass(const at::Tensor& images, const TapRequest& taps) {
  Outputs outputs{{}, Taps(taps), this};
  const ForwardPass pass{taps.empty() ? nullptr : &outputs.taps, key_.with(passes_++)};
  {
    const AutocastGuard autocast(placement_.device, placement_.precision);
    outputs.logits = model_->forward(in_memory_order(images, placement_), pass);
  }
  if (outputs.logits.scalar_type() != at::kFloat) outputs.logits = outputs.logits.to(at::kFloat);
  return outputs;
}

at::Tensor TrainedNetwork::head(const at::Tensor& feature, const std::string& tap) {
  const AutocastGuard autocast(placement_.device, placement_.precision);
  return model_->head(feature, tap).to(at::kFloat);
}

void TrainedNetwork::add_adapter(const NamedModule& adapter) {
  const auto taken = [&](const std::string& name) {
    return std::any_of(adapters_.begin(), adapters_.end(), [&](const NamedModule& one) { return one.name == name; });
  };
  std::string name = adapter.name;
  for (int i = 2; taken(name); ++i) name = fmt::format("{}_{}", adapter.name, i);
  adapter.module->to(placement_.device);
  adapter.module->train();
  adapters_.push_back({name, adapter.module});
}

std::vector<NamedParameter> TrainedNetwork::adapter_tensors() const {
  std::vector<NamedParameter> tensors;
  for (const NamedModule& adapter : adapters_) {
    for (const auto& item : adapter.module->named_parameters())
      tensors.push_back({adapter.name + "." + item.key(), item.value().detach()});
    for (const auto& item : adapter.module->named_buffers())
      tensors.push_back({adapter.name + "." + item.key(), item.value()});
  }
  return tensors;
}

TensorMap TrainedNetwork::loadable() {
  TensorMap tensors = state_dict(*model_);
  for (const NamedParameter& tensor : adapter_tensors()) tensors["adapter." + tensor.name] = tensor.tensor;
  return tensors;
}

std::vector<TrainedNetwork::RateGroup> TrainedNetwork::make_groups(const ComponentSpec& optimizer,
                                                                   const std::map<std::string, double>& rates) const {
  std::map<double, std::vector<std::size_t>> by_factor;
  std::map<std::string, bool> used;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    std::string longest;
    for (const auto& [part, factor] : rates) {
      if (!is_below(parameters_[i].name, part)) continue;
      used[part] = true;
      if (part.size() > longest.size()) longest = part;
    }
    by_factor[longest.empty() ? 1.0 : rates.at(longest)].push_back(i);
  }
  for (const auto& [part, factor] : rates) {
    std::vector<std::string> names;
    for (const NamedParameter& parameter : parameters_) names.push_back(parameter.name);
    if (!used[part]) refuse_part("rates", part, name_, names);
  }
  std::vector<RateGroup> groups;
  for (const auto& [factor, members] : by_factor) {
    const std::string prefix = groups.empty() ? "optimizer." : fmt::format("optimizer_{}.", groups.size() + 1);
    Optimizer::Context context{.parameters = {}, .key = key_.with("optimizer").with(groups.size())};
    for (const std::size_t i : members) context.parameters.push_back(parameters_[i]);
    groups.push_back({factor, prefix, make<Optimizer>(optimizer, context), members});
  }
  return groups;
}

void TrainedNetwork::prepare(const ComponentSpec& optimizer, const ComponentSpec& schedule,
                             const TrainSettings& settings, const std::map<std::string, double>& rates) {
  const auto add = [this](const std::string& name, const at::Tensor& tensor) {
    if (tensor.requires_grad()) parameters_.push_back({name, tensor});
  };
  for (const auto& item : model_->module()->named_parameters()) add(item.key(), item.value());
  for (const NamedModule& adapter : adapters_) {
    for (const auto& item : adapter.module->named_parameters())
      add(fmt::format("adapter.{}.{}", adapter.name, item.key()), item.value());
  }
  if (parameters_.empty()) throw RecipeError(fmt::format("network '{}' has no parameter left to train", name_));
  groups_ = make_groups(optimizer, rates);
  scalars_ = StepScalars(groups_.size() + 1, placement_.device);
  if (schedule) schedule_ = make<Schedule>(schedule);
  max_gradient_norm_ = settings.max_gradient_norm;
  if (groups_.front().optimizer->separates_teachers()) teacher_gradients_.resize(parameters_.size());
  if (!teacher_gradients_.empty() && max_gradient_norm_ > 0) {
    throw RecipeError(optimizer.location,
                      fmt::format("optimizer '{}' keeps what teachers teach apart from the task: there is no one "
                                  "gradient whose norm max_gradient_norm could limit",
                                  optimizer.type),
                      "take max_gradient_norm out, or another optimizer");
  }
  average_decay_ = settings.ema;
  if (average_decay_ > 0) {
    for (const NamedParameter& parameter : parameters_)
      averaged_.push_back({"parameter." + parameter.name, parameter.tensor.detach()});
    for (const auto& item : model_->module()->named_buffers()) {
      if (item.value().is_floating_point()) averaged_.push_back({"statistic." + item.key(), item.value()});
    }
    for (const NamedParameter& one : averaged_) average_.push_back(one.tensor.clone());
  }
  if (placement_.precision == at::kHalf) {
    const auto options = at::TensorOptions().device(placement_.device).dtype(at::kFloat);
    scale_ = at::full({1}, kFirstScale, options);
    found_inf_ = at::zeros({1}, options);
    scale_growth_ = at::zeros({1}, options.dtype(at::kInt));
  }
}

void TrainedNetwork::backward(const std::vector<Term>& terms, const UpdatePart& part) {
  const WithoutAutocast own_precision(placement_.device);  // each operator goes back in the type it came forward in
  const bool apart = !teacher_gradients_.empty();
  at::Tensor loss, taught;
  for (const Term& term : terms) {
    const double weight = term.weight * (term.labelled_rows_only ? part.labelled_share : part.share);
    const at::Tensor weighted = weight == 1 ? term.value : term.value * weight;
    at::Tensor& sum = apart && term.from_teachers ? taught : loss;
    sum = sum.defined() ? sum + weighted : weighted;
  }
  if (!loss.defined() && !taught.defined())
    throw Error(fmt::format("network '{}': every loss of the stage has weight 0", name_));
  const auto scaled = [this](const at::Tensor& sum) { return scale_.defined() ? sum * scale_.squeeze() : sum; };
  if (loss.defined()) scaled(loss).backward({}, /*keep_graph=*/taught.defined());
  if (taught.defined()) {
    swap_teacher_gradients();
    scaled(taught).backward();
    swap_teacher_gradients();
  }
  gradients_open_ = true;
}

void TrainedNetwork::swap_teacher_gradients() {
  for (std::size_t i = 0; i < teacher_gradients_.size(); ++i)
    std::swap(parameters_[i].tensor.mutable_grad(), teacher_gradients_[i]);
}

OptimizerStep TrainedNetwork::optimizer_step(std::size_t group) const {
  OptimizerStep step{.factor = factor_ * groups_[group].factor, .rate = scalars_.at(group), .found_inf = found_inf_};
  if (teacher_gradients_.empty()) return step;
  for (const std::size_t i : groups_[group].members) step.teacher_gradients.push_back(teacher_gradients_[i]);
  return step;
}

std::vector<at::Tensor> TrainedNetwork::gradients() const {
  std::vector<at::Tensor> all;
  for (const NamedParameter& parameter : parameters_) {
    if (parameter.tensor.grad().defined()) all.push_back(parameter.tensor.grad());
  }
  for (const at::Tensor& taught : teacher_gradients_) {
    if (taught.defined()) all.push_back(taught);
  }
  return all;
}

void TrainedNetwork::begin_step(const ScheduleTime& time) {
  factor_ = schedule_ ? schedule_->value(time) : 1.0;
  // A young average forgets faster, or it would hold the first, random numbers for 1/(1 − decay) updates.
  const auto before = static_cast<double>(updates_);
  average_weight_ = 1 - std::min(average_decay_, (1 + before) / (10 + before));
  std::vector<float> numbers;
  for (const RateGroup& group : groups_)
    numbers.push_back(static_cast<float>(group.optimizer->learning_rate() * factor_ * group.factor));
  numbers.push_back(static_cast<float>(average_weight_));
  scalars_.write(numbers);
}

void TrainedNetwork::step() {
  const torch::NoGradGuard no_grad;
  // Each process has weighted its terms by its share of the rows. A gradient that is not finite in one is so in all.
  if (group_->size() > 1) group_->sum(gradients());
  if (scale_.defined()) {
    found_inf_.zero_();
    at::_amp_foreach_non_finite_check_and_unscale_(gradients(), found_inf_, scale_.reciprocal());
  }
  if (max_gradient_norm_ > 0) clip_gradients();
  for (std::size_t i = 0; i < groups_.size(); ++i) groups_[i].optimizer->step(optimizer_step(i));
  if (scale_.defined()) at::_amp_update_scale_(scale_, scale_growth_, found_inf_, 2.0, 0.5, kScaleGrowthInterval);
  drop_gradients();
  ++updates_;
  if (!average_.empty()) follow_with_average();
}

bool TrainedNetwork::recordable() const {
  return model_->recordable() && std::all_of(groups_.begin(), groups_.end(),
                                             [](const RateGroup& group) { return group.optimizer->recordable(); });
}

void TrainedNetwork::advance(const Counts& by) {
  passes_ += by.passes;
  updates_ += by.updates;
}

void TrainedNetwork::forget_step(const Counts& before) {
  passes_ = before.passes;
  updates_ = before.updates;
  drop_gradients();
}

void TrainedNetwork::drop_gradients() {
  // Undefined gradients take over the buffers of the next backward pass; zeroed ones would be added to.
  for (NamedParameter& parameter : parameters_) parameter.tensor.mutable_grad().reset();
  for (at::Tensor& taught : teacher_gradients_) taught.reset();
  gradients_open_ = false;
}

void TrainedNetwork::follow_with_average() {
  std::vector<at::Tensor> current;
  for (const NamedParameter& one : averaged_) current.push_back(one.tensor);
  if (!scalars_.on_device()) {
    at::_foreach_lerp_(average_, current, average_weight_);
    return;
  }
  const std::vector<at::Tensor> way = at::_foreach_sub(current, average_);
  at::_foreach_mul_(way, scalars_.at(groups_.size()));
  at::_foreach_add_(average_, way);
}

void TrainedNetwork::clip_gradients() {
  const std::vector<at::Tensor> all = gradients();
  if (all.empty()) return;
  const at::Tensor norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(all)));
  at::_foreach_mul_(all, (max_gradient_norm_ / (norm + 1e-6)).clamp_max(1.0));
}

void TrainedNetwork::observe(double loss) {
  if (schedule_) schedule_->observe(loss);
}

double TrainedNetwork::learning_rate(const ScheduleTime& time) const {
  return groups_.front().optimizer->learning_rate() * (schedule_ ? schedule_->value(time) : 1.0);
}

void TrainedNetwork::swap_average() {
  const torch::NoGradGuard no_grad;
  for (std::size_t i = 0; i < average_.size(); ++i) {
    const at::Tensor current = averaged_[i].tensor.clone();
    averaged_[i].tensor.copy_(average_[i]);
    average_[i].copy_(current);
  }
}

at::Tensor TrainedNetwork::evaluate(const SplitData& set, const AugmentationChain& augmentations,
                                    std::int64_t batch_size) {
  swap_average();
  // Each process has running statistics of its own rows; those of the first are kept, and count.
  if (group_->size() > 1) group_->broadcast(buffers_);
  at::Tensor logits = evaluate_logits(*model_, placement_, set, augmentations, batch_size, set.samples(), *group_);
  swap_average();
  return logits;
}

TrainedNetwork::Result TrainedNetwork::result() {
  swap_average();
  Result result;
  for (const auto& [name, tensor] : state_dict(*model_)) result.weights[name] = tensor.clone();
  for (const NamedParameter& tensor : adapter_tensors()) result.adapters[tensor.name] = tensor.tensor.clone();
  swap_average();
  return result;
}

TensorMap TrainedNetwork::training_state() {
  TensorMap state;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) { state[name_ + "." + name] = tensor; };
  for (const RateGroup& group : groups_) {
    for (const auto& [name, tensor] : group.optimizer->state()) add(group.state_prefix + name, tensor);
  }
  for (std::size_t i = 0; i < average_.size(); ++i) {
    add(averaged_[i].name, averaged_[i].tensor);
    add("average." + averaged_[i].name, average_[i]);
  }
  if (gradients_open_) {
    std::vector<at::Tensor> sums;
    const auto add_gradient = [&](const std::string& gradient_name, const at::Tensor& gradient) {
      if (!gradient.defined()) return;
      sums.push_back(group_->size() > 1 ? gradient.clone() : gradient);
      add(gradient_name, sums.back());
    };
    for (const NamedParameter& parameter : parameters_)
      add_gradient("gradient." + parameter.name, parameter.tensor.grad());
    for (std::size_t i = 0; i < teacher_gradients_.size(); ++i)
      add_gradient("teacher_gradient." + parameters_[i].name, teacher_gradients_[i]);
    group_->sum(sums);
  }
  if (scale_.defined()) {
    add("scale", scale_);
    add("scale_growth", scale_growth_);
  }
  const auto counters = at::empty({3}, at::TensorOptions().dtype(at::kLong));
  auto* counter = counters.mutable_data_ptr<std::int64_t>();
  counter[0] = static_cast<std::int64_t>(passes_);
  counter[1] = updates_;
  counter[2] = gradients_open_ ? 1 : 0;
  add("counters", counters);
  if (schedule_) {
    const std::vector<double> values = schedule_->state();
    const auto tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::TensorOptions().dtype(at::kDouble));
    std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<double>());
    add("schedule", tensor);
  }
  return state;
}

void TrainedNetwork::restore(const Result& result, const TensorMap& training) {
  const torch::NoGradGuard no_grad;
  const auto find = [&](const TensorMap& tensors, const std::string& name) -> const at::Tensor& {
    const auto found = tensors.find(name);
    if (found == tensors.end()) throw FileError("the checkpoint of '" + name_ + "' lacks '" + name + "'");
    return found->second;
  };
  const auto get = [&](const std::string& name) -> const at::Tensor& { return find(training, name_ + "." + name); };
  load_state_dict(*model_, result.weights, "the checkpoint of '" + name_ + "'");
  for (NamedParameter& tensor : adapter_tensors()) tensor.tensor.copy_(find(result.adapters, tensor.name));
  for (const RateGroup& group : groups_) {
    for (const auto& [name, tensor] : group.optimizer->state()) tensor.copy_(get(group.state_prefix + name));
  }
  for (std::size_t i = 0; i < average_.size(); ++i) {
    averaged_[i].tensor.copy_(get(averaged_[i].name));
    average_[i].copy_(get("average." + averaged_[i].name));
  }
  const at::Tensor counters = get("counters");
  const auto* counter = counters.const_data_ptr<std::int64_t>();
  passes_ = static_cast<std::uint64_t>(counter[0]);
  updates_ = counter[1];
  gradients_open_ = counter[2] != 0;
  if (gradients_open_) {
    const auto take = [&](at::Tensor& gradient, const std::string& name) {
      const auto found = training.find(name_ + "." + name);
      if (found == training.end()) return;  // one that no loss has reached so far has none
      gradient = found->second.to(placement_.device);
      if (!group_->is_first()) gradient.zero_();  // the sum over the group is with the first
    };
    for (NamedParameter& parameter : parameters_) take(parameter.tensor.mutable_grad(), "gradient." + parameter.name);
    for (std::size_t i = 0; i < teacher_gradients_.size(); ++i)
      take(teacher_gradients_[i], "teacher_gradient." + parameters_[i].name);
  }
  if (scale_.defined()) {
    scale_.copy_(get("scale"));
    scale_growth_.copy_(get("scale_growth"));
  }
  if (schedule_) {
    const at::Tensor values = get("schedule");
    const double* begin = values.const_data_ptr<double>();
    schedule_->restore({begin, begin + values.numel()});
  }
}

}  // namespace kd
