// batches.h: everything here is a few tensor operations on the device of the set.
#include "data/batches.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <numeric>

#include "kd/plugin.h"

namespace kd {

AugmentationChain::AugmentationChain(const std::vector<ComponentSpec>& specs, const DataInfo& info) {
  for (const ComponentSpec& spec : specs) augmentations_.push_back(make<Augmentation>(spec, {.data = info}));
}

void AugmentationChain::look_up_draws(std::int64_t samples, at::Device device) {
  tables_ = device.is_cpu() ? nullptr : std::make_unique<DrawTables>(samples, device);
}

namespace {

RandomKey key_of(RandomKey epoch_key, std::size_t i) { return epoch_key.with("augment").with(i); }

}  // namespace

void AugmentationChain::apply_in_training(Batch& batch, const ImageSet& set, RandomKey epoch_key) const {
  DrawTables::Use use(tables_.get(), epoch_key, batch.index);
  if (views() > 0) batch.view = number_views(batch.index, epoch_key);
  for (std::size_t i = 0; i < augmentations_.size(); ++i) {
    fetch_companions(batch, set, epoch_key, i, use);
    augmentations_[i]->apply(batch, key_of(epoch_key, i));
  }
  batch.change_images(to_float);
}

void AugmentationChain::fetch_companions(Batch& batch, const ImageSet& set, RandomKey epoch_key, std::size_t i,
                                         DrawTables::Use& use) const {
  const at::Tensor wanted = augmentations_[i]->extra_samples(batch.index, set.labels, key_of(epoch_key, i));
  if (!wanted.defined()) {
    batch.extra_sample_images.reset();
    batch.extra_sample_labels.reset();
    return;
  }
  // With a key of their own: a sample that is its own companion shows another view.
  const RandomKey companion_key = epoch_key.with("companions").with(i);
  use.add(wanted);
  Batch companions = cut_batch(set, wanted);
  for (std::size_t before = 0; before < i; ++before) {
    fetch_companions(companions, set, companion_key, before, use);
    augmentations_[before]->apply(companions, key_of(companion_key, before));
  }
  batch.extra_sample_images = companions.images;
  batch.extra_sample_labels = companions.targets.labels;
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

at::Tensor AugmentationChain::view_numbers(const at::Tensor& index, RandomKey epoch_key) const {
  const DrawTables::Use use(tables_.get(), epoch_key, index);
  return number_views(index, epoch_key);
}

at::Tensor AugmentationChain::number_views(const at::Tensor& index, RandomKey epoch_key) const {
  at::Tensor numbers;
  for (std::size_t i = 0; i < augmentations_.size(); ++i) {
    const std::int64_t views = augmentations_[i]->views();
    if (views <= 1) continue;
    const at::Tensor of_this = augmentations_[i]->view_numbers(index, key_of(epoch_key, i));
    numbers = numbers.defined() ? numbers * views + of_this : of_this;
  }
  return numbers.defined() ? numbers : at::zeros_like(index);
}

bool AugmentationChain::mixes() const {
  return std::any_of(augmentations_.begin(), augmentations_.end(), [](const auto& one) { return one->mixes(); });
}

std::vector<std::string> AugmentationChain::view_names() const {
  std::vector<std::string> names;
  for (const auto& augmentation : augmentations_) {
    for (const std::string& name : augmentation->view_names()) names.push_back(name);
  }
  return names;
}

at::Tensor epoch_order(std::int64_t samples, RandomKey epoch_key) {
  at::Tensor order = at::empty({samples}, at::TensorOptions().dtype(at::kLong));
  auto* positions = order.mutable_data_ptr<std::int64_t>();
  std::iota(positions, positions + samples, 0);
  const RandomKey key = epoch_key.with("order");
  for (std::int64_t i = samples; i > 1; --i) {  // Fisher and Yates
    std::swap(positions[i - 1],
              positions[random_below(key, static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(i))]);
  }
  return order;
}

Batch cut_batch(const ImageSet& set, const at::Tensor& index) {
  Batch batch;
  batch.images = set.images.index_select(0, index);
  batch.targets.labels = set.labels.index_select(0, index);
  batch.index = index;
  return batch;
}

}  // namespace kd
