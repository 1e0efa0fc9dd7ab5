// From a split to batches: the order of an epoch, and the cutting and augmenting of a batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/split_data.h"
#include "kd/api.h"
#include "kd/augmentation.h"
#include "kd/batch.h"
#include "kd/dataset.h"
#include "kd/random.h"
#include "recipe/plan.h"
#include "sdk/draw_tables.h"

namespace kd {

/// The sizing that a stage's list of augmentations begins with; null where it begins with none.
KD_API std::shared_ptr<const Sizing> make_sizing(const std::vector<ComponentSpec>& specs, const DataInfo& info);

/// The augmentations of a stage. Each gets a key of its own per epoch.
class KD_API AugmentationChain {
 public:
  /// `info` is that of images as a sizing has left them. Throws RecipeError where the order is wrong.
  AugmentationChain(const std::vector<ComponentSpec>& specs, const DataInfo& info);

  /// From now on, what is drawn for a set of `samples` on `device` is drawn once per epoch and looked up in each step.
  /// A CPU draws in every step, which is as quick.
  void look_up_draws(std::int64_t samples, at::Device device);
  /// The samples at `index` as they are trained with in an epoch: float images on the device. What happens to a sample
  /// follows from the key and its index alone.
  Batch make_batch(const SplitData& set, const SampleIndex& index, RandomKey epoch_key) const;
  /// The same of images that were read before; see sizing_key().
  Batch make_batch(const at::Tensor& images, const SplitData& set, const SampleIndex& index, RandomKey epoch_key) const;
  /// Under which a sizing makes the images of an epoch.
  RandomKey sizing_key(RandomKey epoch_key) const;
  /// Only what belongs to evaluation, such as normalisation.
  at::Tensor apply_in_evaluation(const at::Tensor& images) const;
  /// Number of views of one sample; 0 where they are not counted, 1 where nothing is random.
  std::int64_t views() const;
  /// Which of them apply_in_training() shows of each sample: int64 in [0, views()), N; all 0 where there is only one.
  at::Tensor view_numbers(const at::Tensor& index, RandomKey epoch_key) const;
  /// Where draws of an epoch are looked up; null where every draw is made anew.
  DrawTables* tables() const { return tables_.get(); }
  /// Whether any of them mixes samples.
  bool mixes() const;
  /// Names of the extra views that they add.
  std::vector<std::string> view_names() const;

 private:
  /// What the augmentations from the first to `end` make of a batch as it is stored.
  void apply(Batch& batch, const SplitData& set, const SampleIndex& index, RandomKey epoch_key, std::size_t end,
             DrawTables::Use& use) const;
  /// Gives the batch the samples that augmentation `i` wants beside it.
  void fetch_extra_samples(Batch& batch, const SplitData& set, const SampleIndex& index, RandomKey epoch_key,
                           std::size_t i, DrawTables::Use& use) const;
  at::Tensor number_views(const at::Tensor& index, RandomKey epoch_key) const;

  std::vector<std::unique_ptr<Augmentation>> augmentations_;
  std::size_t first_ = 0;               // of those that are applied to batches: a sizing was applied while reading
  std::unique_ptr<DrawTables> tables_;  // null: every draw is made anew
};

/// The samples at `index`, unaugmented; `images` are theirs.
KD_API Batch plain_batch(const at::Tensor& images, const SplitData& set, const SampleIndex& index);

}  // namespace kd
