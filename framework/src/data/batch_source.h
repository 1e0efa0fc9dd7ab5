// The batches of a stage, epoch by epoch: hides order, reading, sizing and augmenting from the training loop.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "data/batches.h"
#include "data/epoch_order.h"
#include "data/split_data.h"
#include "kd/api.h"
#include "kd/batch.h"
#include "kd/random.h"

namespace kd {

/// Which rows of each batch are those of one process of a group.
struct KD_API Shard {
  std::int64_t rank = 0, size = 1;

  /// The first of its rows in a batch of so many, and the one after its last.
  std::int64_t begin(std::int64_t rows) const { return rows * rank / size; }
  std::int64_t end(std::int64_t rows) const { return rows * (rank + 1) / size; }
  std::int64_t count(std::int64_t rows) const { return end(rows) - begin(rows); }
};

class KD_API BatchSource {
 public:
  /// `train` and `augmentations` outlive it. Every process of a group goes through the same batches, and gets its rows
  /// of each. Where an augmentation mixes samples, each makes whole batches: a partner may be a row of another process.
  BatchSource(const SplitData& train, const AugmentationChain& augmentations, std::int64_t batch_size,
              const Shard& shard = {}, const std::optional<SampleSources>& sources = {})
      : train_(train),
        sources_(sources.value_or(SampleSources{.own = train.samples()})),
        augmentations_(augmentations),
        batch_size_(batch_size),
        shard_(shard),
        rows_(shard.count(batch_size)) {}

  /// The next batch is the one numbered `first` of an epoch, whose order follows from `order_key` and whose views from
  /// `view_key`.
  void begin_epoch(RandomKey order_key, RandomKey view_key, std::int64_t first);
  /// Moves to the next batch; there must be one left. On a GPU what comes from the host or changes with the order is
  /// then at the same address in every step: the kernels of make_batch() can be recorded once and run again.
  void advance();
  /// Rows of this process in the batch in hand, and in a whole one.
  std::int64_t rows() const { return index_.host.size(0); }
  std::int64_t whole_rows() const { return rows_; }
  /// The batch in hand, augmented, on the device.
  Batch make_batch() const;
  /// Both in one.
  Batch next() {
    advance();
    return make_batch();
  }
  /// Positions of the samples in the batches from `begin` to before `end`, on the host.
  at::Tensor positions(std::int64_t begin, std::int64_t end) const;

 private:
  const SplitData& train_;
  const SampleSources sources_;
  const AugmentationChain& augmentations_;
  const std::int64_t batch_size_;
  const Shard shard_;
  const std::int64_t rows_;  // of this process in a whole batch
  RandomKey view_key_;
  SampleIndex order_;         // of the samples of this process
  SampleIndex order_of_all_;  // of those of all, where an augmentation mixes them
  std::int64_t batch_ = 0;
  std::optional<ImageBatches> images_;  // where they are read from files
  // Of the batch in hand.
  SampleIndex index_;
  SampleIndex index_of_all_;
  std::int64_t first_row_ = 0;  // of this process among them
  at::Tensor read_images_;
  at::Tensor device_index_;  // of whole batches, on a GPU
};

}  // namespace kd
