// batches.h: everything here is a few tensor operations on the device of the set.
#include "data/batches.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>

#include "kd/diagnostics.h"
#include "kd/plugin.h"

namespace kd {

std::shared_ptr<const Sizing> make_sizing(const std::vector<ComponentSpec>& specs, const DataInfo& info) {
  if (specs.empty()) return nullptr;
  const std::shared_ptr<const Augmentation> first = make<Augmentation>(specs.front(), {.data = info});
  return std::dynamic_pointer_cast<const Sizing>(first);
}

AugmentationChain::AugmentationChain(const std::vector<ComponentSpec>& specs, const DataInfo& info) {
  std::string normalized;  // by which one
  for (const ComponentSpec& spec : specs) {
    augmentations_.push_back(make<Augmentation>(spec, {.data = info}));
    const Augmentation& one = *augmentations_.back();
    const auto refuse = [&](const std::string& why, const std::string& hint) {
      throw RecipeError(spec.location, fmt::format("augmentation '{}' {}", spec.type, why), hint);
    };
    if (dynamic_cast<const Sizing*>(&one) != nullptr) {
      if (augmentations_.size() > 1) refuse("sizes images while they are read, and so must be the first", "");
      first_ = 1;
      continue;
    }
    if (!normalized.empty() && one.expects_pixels())
      refuse(fmt::format("takes pixels as they are stored, and comes after '{}'", normalized), "put it before");
    if (!normalized.empty() && one.at_evaluation())
      refuse(fmt::format("comes after '{}': both change the units of the images", normalized), "leave one of them out");
    if (one.at_evaluation()) normalized = spec.type;
  }
}

void AugmentationChain::look_up_draws(std::int64_t samples, at::Device device) {
  tables_ = device.is_cpu() ? nullptr : std::make_unique<DrawTables>(samples, device);
}

namespace {

RandomKey key_of(RandomKey epoch_key, std::size_t i) { return epoch_key.with("augment").with(i); }

}  // namespace

RandomKey AugmentationChain::sizing_key(RandomKey epoch_key) const { return key_of(epoch_key, 0); }

Batch AugmentationChain::make_batch(const SplitData& set, const SampleIndex& index, RandomKey epoch_key) const {
  return make_batch(set.images(index, sizing_key(epoch_key)), set, index, epoch_key);
}

Batch AugmentationChain::make_batch(const at::Tensor& images, const SplitData& set, const SampleIndex& index,
                                    RandomKey epoch_key) const {
  Batch batch = plain_batch(images, set, index);
  DrawTables::Use use(tables_.get(), epoch_key, batch.index);
  if (views() > 0) batch.view = number_views(batch.index, epoch_key);
  apply(batch, set, index, epoch_key, augmentations_.size(), use);
  batch.change_images(to_float);
  return batch;
}

void AugmentationChain::apply(Batch& batch, const SplitData& set, const SampleIndex& index, RandomKey epoch_key,
                              std::size_t end, DrawTables::Use& use) const {
  for (std::size_t i = first_; i < end; ++i) {
    fetch_extra_samples(batch, set, index, epoch_key, i, use);
    augmentations_[i]->apply(batch, key_of(epoch_key, i));
  }
}

void AugmentationChain::fetch_extra_samples(Batch& batch, const SplitData& set, const SampleIndex& index,
                                            RandomKey epoch_key, std::size_t i, DrawTables::Use& use) const {
  const SampleIndex wanted = set.related(index, [&](const at::Tensor& positions, const at::Tensor& labels) {
    return augmentations_[i]->extra_samples(positions, labels, key_of(epoch_key, i));
  });
  batch.extra_sample_images.reset();
  batch.extra_sample_labels.reset();
  if (!wanted.device.defined()) return;
  // With a key of their own: a sample that is asked for beside itself shows another view.
  const RandomKey key = epoch_key.with("companions").with(i);
  use.add(wanted.device);
  Batch extra = plain_batch(set.images(wanted, sizing_key(key)), set, wanted);
  apply(extra, set, wanted, key, i, use);
  batch.extra_sample_images = extra.images;
  batch.extra_sample_labels = extra.targets.labels;
}

at::Tensor AugmentationChain::apply_in_evaluation(const at::Tensor& images) const {
  Batch batch;
  batch.images = images;
  for (std::size_t i = first_; i < augmentations_.size(); ++i) {
    if (augmentations_[i]->at_evaluation()) augmentations_[i]->apply(batch, {});
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

Batch plain_batch(const at::Tensor& images, const SplitData& set, const SampleIndex& index) {
  Batch batch;
  batch.images = images;
  batch.targets.labels = set.labels().index_select(0, index.device);
  batch.index = index.device;
  return batch;
}

}  // namespace kd
