// Batch norm with the statistics of the images of all processes: sync_batch_norm of a recipe.
#pragma once

#include "kd/group.h"

namespace kd {

/// While it lives, every batch norm in training mode that this thread computes takes mean and variance over the rows of
/// all processes of `group`, which all compute the same ones in the same order; their gradients follow. With a group of
/// one process, or none, batch norm is LibTorch's.
class KD_API SyncBatchNorm {
 public:
  explicit SyncBatchNorm(Group* group);
  ~SyncBatchNorm();
  SyncBatchNorm(const SyncBatchNorm&) = delete;
  SyncBatchNorm& operator=(const SyncBatchNorm&) = delete;

 private:
  Group* before_;
};

}  // namespace kd
