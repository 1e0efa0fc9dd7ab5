// batches.h: everything here is a few tensor operations on the device of the set.
#include "data/batches.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros_like.h>

#include <numeric>

#include "kd/plugin.h"

namespace kd {

AugmentationChain::AugmentationChain(const std::vector<ComponentSpec>& specs, const DataInfo& info) {
  for (const ComponentSpec& spec : specs) augmentations_.push_back(make<Augmentation>(spec, {.data = info}));
}

void AugmentationChain::apply_in_training(Batch& batch, RandomKey epoch_key) const {
  if (views() > 1) batch.view = at::zeros_like(batch.index);
  for (std::size_t i = 0; i < augmentations_.size(); ++i)
    augmentations_[i]->apply(batch, epoch_key.with("augment").with(i));
  batch.images = to_float(batch.images);
}

at::Tensor AugmentationChain::apply_in_evaluation(const at::Tensor& images) const {
  Batch batch;
  batch.images = images;
  for (const auto& augmentation : augmentations_) {
    if (augmentation->at_evaluation()) augmentation->apply(batch, {});
  }
  return to_float(batch.images);
}

std::int64_t AugmentationChain::views() const {
  std::int64_t views = 1;
  for (const auto& augmentation : augmentations_) views *= augmentation->views();
  return views;
}

at::Tensor epoch_order(std::int64_t samples, RandomKey epoch_key, at::Device device) {
  at::Tensor order = at::empty({samples}, at::TensorOptions().dtype(at::kLong).pinned_memory(device.is_cuda()));
  auto* positions = order.mutable_data_ptr<std::int64_t>();
  std::iota(positions, positions + samples, 0);
  const RandomKey key = epoch_key.with("order");
  for (std::int64_t i = samples; i > 1; --i) {  // Fisher and Yates
    std::swap(positions[i - 1],
              positions[random_below(key, static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(i))]);
  }
  return order.to(device, /*non_blocking=*/true);
}

Batch cut_batch(const ImageSet& set, const at::Tensor& index) {
  Batch batch;
  batch.images = set.images.index_select(0, index);
  batch.targets.labels = set.labels.index_select(0, index);
  batch.index = index;
  return batch;
}

}  // namespace kd
