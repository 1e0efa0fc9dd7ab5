// frozen_network.h
#include "engine/frozen_network.h"

#include <ATen/ops/arange.h>
#include <c10/core/GradMode.h>
#include <torch/nn/module.h>

#include <algorithm>

#include "kd/logits.h"

namespace kd {
namespace {

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

FrozenNetwork::FrozenNetwork(std::string name, std::unique_ptr<Model> model, const Placement& placement,
                             const TeacherPlan& plan, RandomKey key)
    : name_(std::move(name)), model_(std::move(model)), placement_(placement), plan_(plan), key_(key) {
  const auto module = model_->module();
  module->train(plan_.training_mode);
  for (auto& parameter : module->parameters()) parameter.set_requires_grad(false);
  cast_frozen(*module, placement_.precision);
}

FrozenNetwork::~FrozenNetwork() = default;

at::Tensor FrozenNetwork::pass(const at::Tensor& images, Taps* taps, Gradient gradient) {
  const c10::AutoGradMode mode(gradient == Gradient::kToImages);
  // Its weights are in the compute type already.
  const WithoutAutocast exact(placement_.device);
  return model_->forward(in_memory_order(images.to(placement_.precision), placement_), {taps, pass_key_});
}

at::Tensor FrozenNetwork::finish(const at::Tensor& logits) const {
  const at::Tensor precise = logits.to(at::kFloat);
  return plan_.temperature == 1 ? precise : precise / plan_.temperature;
}

Outputs FrozenNetwork::outputs(const Batch& batch, const TapRequest& taps) {
  if (!cache_ || !taps.empty()) return forward(batch.images, taps, Gradient::kNone);
  return {finish(cache_->get(batch.index, batch.view)), {}, this};
}

Outputs FrozenNetwork::forward(const at::Tensor& images, const TapRequest& taps, Gradient gradient) {
  Outputs outputs{{}, Taps(taps), this};
  outputs.logits = finish(pass(images, taps.empty() ? nullptr : &outputs.taps, gradient));
  return outputs;
}

at::Tensor FrozenNetwork::head(const at::Tensor& feature, const std::string& tap) {
  const WithoutAutocast exact(placement_.device);
  return finish(model_->head(feature.to(placement_.precision), tap));
}

void FrozenNetwork::fill_cache(const SplitData& train, const AugmentationChain& augmentations, const at::Tensor& index,
                               RandomKey epoch_key, std::int64_t rows) {
  if (!cache_) return;
  const at::Tensor missing = cache_->take_missing(index, augmentations.view_numbers(index, epoch_key));
  for (std::int64_t begin = 0; begin < missing.size(0); begin += rows) {
    // Every pass has the same number of rows, the last one repeating some: an answer must not depend on which others
    // were missing, and the sums in a pass are ordered by its shape.
    const at::Tensor positions = at::arange(begin, begin + rows, missing.options()).clamp_max(missing.size(0) - 1);
    const Batch batch = augmentations.make_batch(train, train.on_both(missing.index_select(0, positions)), epoch_key);
    const std::int64_t count = std::min(rows, missing.size(0) - begin);
    cache_->put(batch.index.narrow(0, 0, count), batch.view.narrow(0, 0, count),
                pass(batch.images, nullptr).narrow(0, 0, count));
  }
}

}  // namespace kd
