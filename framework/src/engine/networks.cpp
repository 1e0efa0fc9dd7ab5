// networks.h
#include "engine/networks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_amp_update_scale.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/arange.h>
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

#include "data/transfer.h"
#include "engine/device.h"

namespace kd {
namespace {

constexpr double kFirstScale = 65536;  // of fp16 gradients, as PyTorch's GradScaler
constexpr std::int64_t kScaleGrowthInterval = 2000;

at::Tensor in_memory_order(const at::Tensor& images, const Placement& placement) {
  return placement.channels_last && images.dim() == 4 ? images.contiguous(at::MemoryFormat::ChannelsLast) : images;
}

/// Casts the weights of a frozen network once: they would miss autocast's cache and be cast in every pass.
/// Normalisation keeps its statistics in fp32.
void cast_frozen(torch::nn::Module& module, at::ScalarType precision) {
  if (precision == at::kFloat) return;
  for (const auto& part : module.modules(/*include_self=*/true)) {
    const bool normalises = part->named_buffers(/*recurse=*/false).contains("running_mean");
    if (normalises) continue;
    for (auto& parameter : part->parameters(/*recurse=*/false)) parameter.set_data(parameter.data().to(precision));
  }
}

}  // namespace

void set_memory_order(Model& model, const Placement& placement) {
  if (!placement.channels_last) return;
  for (auto& parameter : model.module()->parameters()) {
    if (parameter.dim() == 4) parameter.set_data(parameter.data().contiguous(at::MemoryFormat::ChannelsLast));
  }
}

std::unique_ptr<Model> place_model(const ComponentSpec& spec, const DataInfo& info, RandomKey key,
                                   const Placement& placement) {
  // The only use of LibTorch's own generator: its initialisers take no other.
  torch::manual_seed(key.with("initialisation").bits);
  auto model = make<Model>(
      spec, {.channels = info.channels, .height = info.height, .width = info.width, .classes = info.classes()});
  model->module()->to(placement.device);
  set_memory_order(*model, placement);
  return model;
}

std::int64_t count_parameters(Model& model) {
  std::int64_t count = 0;
  for (const auto& parameter : model.module()->parameters()) count += parameter.numel();
  return count;
}

TensorMap state_dict(Model& model) {
  TensorMap state;
  const auto module = model.module();
  for (const auto& item : module->named_parameters()) state[item.key()] = item.value().data();
  for (const auto& item : module->named_buffers()) state[item.key()] = item.value();
  return state;
}

std::vector<std::string> state_names(Model& model) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state_dict(model)) names.push_back(name);
  return names;
}

namespace {

/// The first lines of a list, and how many more there are.
std::string few_of(const std::vector<std::string>& lines, const std::string& what) {
  constexpr std::size_t kMost = 6;
  std::string text;
  for (std::size_t i = 0; i < std::min(lines.size(), kMost); ++i) text += fmt::format("\n    {}: {}", what, lines[i]);
  if (lines.size() > kMost) text += fmt::format("\n    … and {} more {}", lines.size() - kMost, what);
  return text;
}

/// "linear.=fc." where a missing name and an unexpected one differ in what stands before their last part, and nowhere
/// else.
std::string renaming(const TensorMap& own, const TensorMap& state, const std::vector<std::string>& missing,
                     const std::vector<std::string>& unexpected) {
  for (const std::string& wanted : missing) {
    const std::size_t end = wanted.rfind('.');
    for (const std::string& given : unexpected) {
      const std::size_t same = given.rfind('.');
      if (end == std::string::npos || same == std::string::npos || wanted.substr(end) != given.substr(same) ||
          own.at(wanted).sizes() != state.at(given).sizes())
        continue;
      return given.substr(0, same + 1) + "=" + wanted.substr(0, end + 1);
    }
  }
  return "";
}

}  // namespace

void load_state_dict(Model& model, const TensorMap& state, const std::string& source) {
  const torch::NoGradGuard no_grad;
  const TensorMap own = state_dict(model);
  std::vector<std::string> missing, unexpected, misshapen;
  // PyTorch counts batches since 0.4.1 and forgives files that are older, too.
  const auto may_be_missing = [](const std::string& name) { return name.ends_with("num_batches_tracked"); };
  for (const auto& [name, tensor] : own) {
    const auto found = state.find(name);
    if (found == state.end()) {
      if (!may_be_missing(name)) missing.push_back(name);
    } else if (found->second.sizes() != tensor.sizes()) {
      misshapen.push_back(
          fmt::format("{} is {} and should be {}", name, c10::str(found->second.sizes()), c10::str(tensor.sizes())));
    }
  }
  for (const auto& [name, tensor] : state) {
    if (!own.contains(name)) unexpected.push_back(name);
  }
  if (!missing.empty() || !unexpected.empty() || !misshapen.empty()) {
    const std::string rename = renaming(own, state, missing, unexpected);
    throw FileError(
        {},
        source + " does not hold the weights of this network:" + few_of(missing, "missing") +
            few_of(misshapen, "wrong shape") + few_of(unexpected, "unexpected"),
        rename.empty() ? "" : "kdrun import --rename " + rename + " takes names as they are in the network");
  }
  for (const auto& [name, tensor] : own) {
    if (const auto found = state.find(name); found != state.end()) tensor.copy_(found->second);
  }
}

at::Tensor evaluate_logits(Model& model, const Placement& placement, const ImageSet& set,
                           const AugmentationChain& augmentations, std::int64_t batch_size) {
  const torch::NoGradGuard no_grad;
  const auto module = model.module();
  const bool training = module->is_training();
  module->eval();
  const std::int64_t samples = set.labels.size(0);
  at::Tensor logits;
  for (std::int64_t begin = 0; begin < samples; begin += batch_size) {
    const std::int64_t count = std::min(batch_size, samples - begin);
    const at::Tensor images =
        in_memory_order(augmentations.apply_in_evaluation(set.images.narrow(0, begin, count)), placement);
    const AutocastGuard autocast(placement.device, placement.precision);
    const at::Tensor rows = model.forward(images, {});
    if (!logits.defined()) logits = at::empty({samples, rows.size(1)}, rows.options().dtype(at::kFloat));
    logits.narrow(0, begin, count).copy_(rows);
  }
  module->train(training);
  return logits;
}

TrainedNetwork::TrainedNetwork(std::string name, std::unique_ptr<Model> model, const Placement& placement,
                               RandomKey key)
    : name_(std::move(name)), model_(std::move(model)), placement_(placement), key_(key.with("passes")) {
  model_->module()->train();
  gather_buffers();
}

TrainedNetwork::~TrainedNetwork() = default;

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
  Outputs outputs{{}, Taps(taps)};
  const ForwardPass pass{taps.empty() ? nullptr : &outputs.taps, key_.with(passes_++)};
  {
    const AutocastGuard autocast(placement_.device, placement_.precision);
    outputs.logits = model_->forward(in_memory_order(images, placement_), pass);
  }
  if (outputs.logits.scalar_type() != at::kFloat) outputs.logits = outputs.logits.to(at::kFloat);
  return outputs;
}

void TrainedNetwork::add_module(const std::shared_ptr<torch::nn::Module>& module) {
  module->to(placement_.device);
  module->train();
  modules_.push_back(module);
}

void TrainedNetwork::prepare(const ComponentSpec& optimizer, const ComponentSpec& schedule,
                             const TrainSettings& settings) {
  for (const auto& item : model_->module()->named_parameters()) parameters_.push_back({item.key(), item.value()});
  for (std::size_t i = 0; i < modules_.size(); ++i) {
    for (const auto& item : modules_[i]->named_parameters()) {
      parameters_.push_back({fmt::format("adapter{}.{}", i, item.key()), item.value()});
    }
  }
  optimizer_ = make<Optimizer>(optimizer, {.parameters = parameters_});
  if (schedule) schedule_ = make<Schedule>(schedule);
  max_gradient_norm_ = settings.max_gradient_norm;
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

/// The buffers of the adapters, such as a loss's memory, by name.
std::vector<NamedParameter> TrainedNetwork::adapter_buffers() const {
  std::vector<NamedParameter> buffers;
  for (std::size_t i = 0; i < modules_.size(); ++i) {
    for (const auto& item : modules_[i]->named_buffers())
      buffers.push_back({fmt::format("adapter{}.{}", i, item.key()), item.value()});
  }
  return buffers;
}

void TrainedNetwork::update(const std::vector<Term>& terms, const UpdatePart& part, const ScheduleTime& time) {
  at::Tensor loss;
  for (const Term& term : terms) {
    const double weight = term.weight * (term.labelled_rows_only ? part.labelled_share : part.share);
    const at::Tensor weighted = weight == 1 ? term.value : term.value * weight;
    loss = loss.defined() ? loss + weighted : weighted;
  }
  if (!loss.defined()) throw Error(fmt::format("network '{}': every loss of the stage has weight 0", name_));
  if (scale_.defined()) loss = loss * scale_.squeeze();
  loss.backward();
  gradients_open_ = !part.last;
  if (part.last) step(time);
}

std::vector<at::Tensor> TrainedNetwork::gradients() const {
  std::vector<at::Tensor> all;
  for (const NamedParameter& parameter : parameters_) {
    if (parameter.tensor.grad().defined()) all.push_back(parameter.tensor.grad());
  }
  return all;
}

void TrainedNetwork::step(const ScheduleTime& time) {
  const torch::NoGradGuard no_grad;
  if (scale_.defined()) {
    found_inf_.zero_();
    at::_amp_foreach_non_finite_check_and_unscale_(gradients(), found_inf_, scale_.reciprocal());
  }
  if (max_gradient_norm_ > 0) clip_gradients();
  optimizer_->step({.factor = schedule_ ? schedule_->value(time) : 1.0, .found_inf = found_inf_});
  if (scale_.defined()) at::_amp_update_scale_(scale_, scale_growth_, found_inf_, 2.0, 0.5, kScaleGrowthInterval);
  // Undefined gradients take over the buffers of the next backward pass; zeroed ones would be added to.
  for (NamedParameter& parameter : parameters_) parameter.tensor.mutable_grad().reset();
  const auto before = static_cast<double>(updates_++);
  if (average_.empty()) return;
  // A young average forgets faster, or it would hold the first, random numbers for 1/(1 − decay) updates.
  const double decay = std::min(average_decay_, (1 + before) / (10 + before));
  std::vector<at::Tensor> current;
  for (const NamedParameter& one : averaged_) current.push_back(one.tensor);
  at::_foreach_lerp_(average_, current, 1 - decay);
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
  return optimizer_->learning_rate() * (schedule_ ? schedule_->value(time) : 1.0);
}

void TrainedNetwork::swap_average() {
  const torch::NoGradGuard no_grad;
  for (std::size_t i = 0; i < average_.size(); ++i) {
    const at::Tensor current = averaged_[i].tensor.clone();
    averaged_[i].tensor.copy_(average_[i]);
    average_[i].copy_(current);
  }
}

at::Tensor TrainedNetwork::evaluate(const ImageSet& set, const AugmentationChain& augmentations,
                                    std::int64_t batch_size) {
  swap_average();
  at::Tensor logits = evaluate_logits(*model_, placement_, set, augmentations, batch_size);
  swap_average();
  return logits;
}

TensorMap TrainedNetwork::result_state() {
  swap_average();
  TensorMap state;
  for (const auto& [name, tensor] : state_dict(*model_)) state[name] = tensor.clone();
  swap_average();
  return state;
}

TensorMap TrainedNetwork::training_state() {
  TensorMap state;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) { state[name_ + "." + name] = tensor; };
  for (const auto& [name, tensor] : optimizer_->state()) add("optimizer." + name, tensor);
  for (const NamedParameter& parameter : parameters_) {  // the model's own are in its result, but for an average
    if (average_.empty() && parameter.name.starts_with("adapter"))
      add("parameter." + parameter.name, parameter.tensor.detach());
  }
  for (std::size_t i = 0; i < average_.size(); ++i) {
    add(averaged_[i].name, averaged_[i].tensor);
    add("average." + averaged_[i].name, average_[i]);
  }
  for (const NamedParameter& buffer : adapter_buffers()) add("buffer." + buffer.name, buffer.tensor);
  if (gradients_open_) {
    for (const NamedParameter& parameter : parameters_) {
      if (parameter.tensor.grad().defined()) add("gradient." + parameter.name, parameter.tensor.grad());
    }
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

void TrainedNetwork::restore(const TensorMap& result, const TensorMap& training) {
  const torch::NoGradGuard no_grad;
  const auto get = [&](const std::string& name) -> const at::Tensor& {
    const auto found = training.find(name_ + "." + name);
    if (found == training.end()) throw FileError("the checkpoint lacks '" + name_ + "." + name + "'");
    return found->second;
  };
  load_state_dict(*model_, result, "the checkpoint of '" + name_ + "'");
  for (const auto& [name, tensor] : optimizer_->state()) tensor.copy_(get("optimizer." + name));
  for (const NamedParameter& parameter : parameters_) {
    if (average_.empty() && parameter.name.starts_with("adapter"))
      parameter.tensor.detach().copy_(get("parameter." + parameter.name));
  }
  for (std::size_t i = 0; i < average_.size(); ++i) {
    averaged_[i].tensor.copy_(get(averaged_[i].name));
    average_[i].copy_(get("average." + averaged_[i].name));
  }
  for (const NamedParameter& buffer : adapter_buffers()) buffer.tensor.copy_(get("buffer." + buffer.name));
  const at::Tensor counters = get("counters");
  const auto* counter = counters.const_data_ptr<std::int64_t>();
  passes_ = static_cast<std::uint64_t>(counter[0]);
  updates_ = counter[1];
  gradients_open_ = counter[2] != 0;
  if (gradients_open_) {
    for (NamedParameter& parameter : parameters_) {  // one that no loss has reached so far has none
      const auto gradient = training.find(name_ + ".gradient." + parameter.name);
      if (gradient != training.end()) parameter.tensor.mutable_grad() = gradient->second.to(parameter.tensor.device());
    }
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

FrozenNetwork::FrozenNetwork(std::string name, std::unique_ptr<Model> model, const Placement& placement,
                             const TeacherPlan& plan, RandomKey key)
    : name_(std::move(name)), model_(std::move(model)), placement_(placement), plan_(plan), key_(key) {
  const auto module = model_->module();
  module->train(plan_.training_mode);
  for (auto& parameter : module->parameters()) parameter.set_requires_grad(false);
  cast_frozen(*module, placement_.precision);
}

FrozenNetwork::~FrozenNetwork() = default;

at::Tensor FrozenNetwork::pass(const at::Tensor& images, Taps* taps) {
  const torch::NoGradGuard no_grad;
  return model_->forward(in_memory_order(images.to(placement_.precision), placement_), {taps, pass_key_});
}

at::Tensor FrozenNetwork::finish(const at::Tensor& logits) const {
  const at::Tensor precise = logits.to(at::kFloat);
  return plan_.temperature == 1 ? precise : precise / plan_.temperature;
}

Outputs FrozenNetwork::outputs(const Batch& batch, const TapRequest& taps) {
  if (!cache_ || !taps.empty()) return forward(batch.images, taps);
  return {finish(cache_->get(batch.index, batch.view)), {}};
}

Outputs FrozenNetwork::forward(const at::Tensor& images, const TapRequest& taps) {
  Outputs outputs{{}, Taps(taps)};
  outputs.logits = finish(pass(images, taps.empty() ? nullptr : &outputs.taps));
  return outputs;
}

void FrozenNetwork::fill_cache(const ImageSet& train, const AugmentationChain& augmentations, const at::Tensor& index,
                               RandomKey epoch_key, std::int64_t rows) {
  if (!cache_) return;
  const at::Tensor missing = cache_->take_missing(index, augmentations.view_numbers(index, epoch_key));
  for (std::int64_t begin = 0; begin < missing.size(0); begin += rows) {
    // Every pass has the same number of rows, the last one repeating some: an answer must not depend on which others
    // were missing, and the sums in a pass are ordered by its shape.
    const at::Tensor positions = at::arange(begin, begin + rows, missing.options()).clamp_max(missing.size(0) - 1);
    Batch batch = cut_batch(train, to_device(missing.index_select(0, positions), placement_.device));
    augmentations.apply_in_training(batch, train, epoch_key);
    const std::int64_t count = std::min(rows, missing.size(0) - begin);
    cache_->put(batch.index.narrow(0, 0, count), batch.view.narrow(0, 0, count),
                pass(batch.images, nullptr).narrow(0, 0, count));
  }
}

}  // namespace kd
