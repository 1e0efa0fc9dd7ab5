// From a data set on the device to batches: the order of an epoch, and the cutting and augmenting of a batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/augmentation.h"
#include "kd/batch.h"
#include "kd/dataset.h"
#include "kd/random.h"
#include "recipe/plan.h"
#include "sdk/draw_tables.h"

namespace kd {

/// The augmentations of a stage. Each gets a key of its own per epoch.
class KD_API AugmentationChain {
 public:
  AugmentationChain(const std::vector<ComponentSpec>& specs, const DataInfo& info);

  /// From now on, what is drawn for a set of `samples` on `device` is drawn once per epoch and looked up in each step.
  /// A CPU draws in every step, which is as quick.
  void look_up_draws(std::int64_t samples, at::Device device);
  /// Images become float; what happens to a sample follows from the key and its index alone. `set` is where the batch
  /// was cut from.
  void apply_in_training(Batch& batch, const ImageSet& set, RandomKey epoch_key) const;
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
  /// Gives the batch the samples that augmentation `i` wants beside it.
  void fetch_companions(Batch& batch, const ImageSet& set, RandomKey epoch_key, std::size_t i,
                        DrawTables::Use& use) const;
  at::Tensor number_views(const at::Tensor& index, RandomKey epoch_key) const;

  std::vector<std::unique_ptr<Augmentation>> augmentations_;
  std::unique_ptr<DrawTables> tables_;  // null: every draw is made anew
};

/// The order of the samples in an epoch, int64, on the CPU.
KD_API at::Tensor epoch_order(std::int64_t samples, RandomKey epoch_key);

/// Cuts the samples at `index` (int64, on the device) out of the set, unaugmented.
KD_API Batch cut_batch(const ImageSet& set, const at::Tensor& index);

}  // namespace kd
