// networks.h
#include "engine/networks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_amp_update_scale.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <torch/nn/module.h>
#include <torch/utils.h>

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

void load_state_dict(Model& model, const TensorMap& state, const std::string& source) {
  const torch::NoGradGuard no_grad;
  const TensorMap own = state_dict(model);
  std::string problems;
  // PyTorch counts batches since 0.4.1 and forgives files that are older, too.
  const auto may_be_missing = [](const std::string& name) { return name.ends_with("num_batches_tracked"); };
  for (const auto& [name, tensor] : own) {
    const auto found = state.find(name);
    if (found == state.end()) {
      if (!may_be_missing(name)) problems += "\n    missing: " + name;
    } else if (found->second.sizes() != tensor.sizes()) {
      problems += fmt::format("\n    wrong shape: {} is {} and should be {}", name, c10::str(found->second.sizes()),
                              c10::str(tensor.sizes()));
    }
  }
  for (const auto& [name, tensor] : state) {
    if (!own.contains(name)) problems += "\n    unexpected: " + name;
  }
  if (!problems.empty()) throw FileError(source + " does not hold the weights of this network:" + problems);
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
}

TrainedNetwork::~TrainedNetwork() = default;

Outputs TrainedNetwork::forward(const at::Tensor& images, const TapRequest& taps) {
  Outputs outputs = pass(images, taps);
  last_logits_ = outputs.logits.detach();
  return outputs;
}

Outputs TrainedNetwork::answer(const at::Tensor& images, const TapRequest& taps) {
  const torch::NoGradGuard no_grad;
  std::vector<std::pair<at::Tensor, at::Tensor>> statistics;  // a buffer, and what it held
  for (auto& buffer : model_->module()->buffers()) statistics.emplace_back(buffer, buffer.clone());
  Outputs outputs = pass(images, taps);
  for (const auto& [buffer, before] : statistics) buffer.copy_(before);
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
  accumulate_ = settings.accumulate;
  average_decay_ = settings.ema;
  if (average_decay_ > 0) {
    for (const NamedParameter& parameter : parameters_) average_.push_back(parameter.tensor.detach().clone());
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

void TrainedNetwork::finish(const ScheduleTime& time) {
  if (accumulated_ == 0) return;
  const torch::NoGradGuard no_grad;
  for (const NamedParameter& parameter : parameters_) {  // the mean over the batches that there were
    if (parameter.tensor.grad().defined())
      parameter.tensor.grad().mul_(static_cast<double>(accumulate_) / static_cast<double>(accumulated_));
  }
  accumulated_ = 0;
  step(time);
}

void TrainedNetwork::update(const std::vector<Term>& terms, const ScheduleTime& time) {
  at::Tensor loss;
  for (const Term& term : terms) {
    const at::Tensor weighted = term.weight == 1 ? term.value : term.value * term.weight;
    loss = loss.defined() ? loss + weighted : weighted;
  }
  if (!loss.defined()) throw Error(fmt::format("network '{}': every loss of the stage has weight 0", name_));
  if (accumulate_ > 1) loss = loss / static_cast<double>(accumulate_);
  if (scale_.defined()) loss = loss * scale_.squeeze();
  loss.backward();
  if (++accumulated_ < accumulate_) return;
  accumulated_ = 0;
  step(time);
}

void TrainedNetwork::step(const ScheduleTime& time) {
  const torch::NoGradGuard no_grad;
  if (scale_.defined()) {
    std::vector<at::Tensor> gradients;
    for (const NamedParameter& parameter : parameters_) {
      if (parameter.tensor.grad().defined()) gradients.push_back(parameter.tensor.grad());
    }
    found_inf_.zero_();
    at::_amp_foreach_non_finite_check_and_unscale_(gradients, found_inf_, scale_.reciprocal());
  }
  if (max_gradient_norm_ > 0) clip_gradients();
  optimizer_->step({.factor = schedule_ ? schedule_->value(time) : 1.0, .found_inf = found_inf_});
  if (scale_.defined()) at::_amp_update_scale_(scale_, scale_growth_, found_inf_, 2.0, 0.5, kScaleGrowthInterval);
  // Undefined gradients take over the buffers of the next backward pass; zeroed ones would be added to.
  for (NamedParameter& parameter : parameters_) parameter.tensor.mutable_grad().reset();
  if (average_.empty()) return;
  std::vector<at::Tensor> current;
  for (const NamedParameter& parameter : parameters_) current.push_back(parameter.tensor.detach());
  at::_foreach_lerp_(average_, current, 1 - average_decay_);
}

void TrainedNetwork::clip_gradients() {
  std::vector<at::Tensor> norms;
  for (const NamedParameter& parameter : parameters_) {
    if (parameter.tensor.grad().defined()) norms.push_back(at::linalg_vector_norm(parameter.tensor.grad()));
  }
  if (norms.empty()) return;
  const at::Tensor factor = (max_gradient_norm_ / (at::linalg_vector_norm(at::stack(norms)) + 1e-6)).clamp_max(1.0);
  for (const NamedParameter& parameter : parameters_) {
    if (parameter.tensor.grad().defined()) parameter.tensor.grad().mul_(factor);
  }
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
    const at::Tensor current = parameters_[i].tensor.detach().clone();
    parameters_[i].tensor.detach().copy_(average_[i]);
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
  if (!average_.empty()) {
    for (const NamedParameter& parameter : parameters_) add("parameter." + parameter.name, parameter.tensor.detach());
  } else {
    for (const NamedParameter& parameter : parameters_) {
      if (parameter.name.starts_with("adapter")) add("parameter." + parameter.name, parameter.tensor.detach());
    }
  }
  for (const NamedParameter& buffer : adapter_buffers()) add("buffer." + buffer.name, buffer.tensor);
  for (std::size_t i = 0; i < average_.size(); ++i) add("average." + parameters_[i].name, average_[i]);
  if (accumulated_ > 0) {
    for (const NamedParameter& parameter : parameters_) {
      if (parameter.tensor.grad().defined()) add("gradient." + parameter.name, parameter.tensor.grad());
    }
  }
  if (scale_.defined()) {
    add("scale", scale_);
    add("scale_growth", scale_growth_);
  }
  const auto counters = at::empty({2}, at::TensorOptions().dtype(at::kLong));
  counters.mutable_data_ptr<std::int64_t>()[0] = static_cast<std::int64_t>(passes_);
  counters.mutable_data_ptr<std::int64_t>()[1] = accumulated_;
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
    if (!average_.empty() || parameter.name.starts_with("adapter"))
      parameter.tensor.detach().copy_(get("parameter." + parameter.name));
  }
  for (const NamedParameter& buffer : adapter_buffers()) buffer.tensor.copy_(get("buffer." + buffer.name));
  for (std::size_t i = 0; i < average_.size(); ++i) average_[i].copy_(get("average." + parameters_[i].name));
  const at::Tensor counters = get("counters");
  passes_ = static_cast<std::uint64_t>(counters.const_data_ptr<std::int64_t>()[0]);
  accumulated_ = counters.const_data_ptr<std::int64_t>()[1];
  if (accumulated_ > 0) {
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
  const at::Tensor missing = cache_->find_missing(index, augmentations.view_numbers(index, epoch_key));
  for (std::int64_t begin = 0; begin < missing.size(0); begin += rows) {
    // Every pass has the same number of rows, the last one repeating some: an answer must not depend on which others
    // were missing, and the sums in a pass are ordered by its shape.
    const at::Tensor positions = at::arange(begin, begin + rows, missing.options()).clamp_max(missing.size(0) - 1);
    Batch batch = cut_batch(train, missing.index_select(0, positions));
    augmentations.apply_in_training(batch, train, epoch_key);
    cache_->put(batch.index, batch.view, pass(batch.images, nullptr));
  }
}

}  // namespace kd
