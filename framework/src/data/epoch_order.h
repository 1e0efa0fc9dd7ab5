// The order in which an epoch shows the samples of a training set.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "kd/api.h"
#include "kd/random.h"

namespace kd {

/// A training set, and what of it comes from another source.
struct KD_API SampleSources {
  std::int64_t own = 0;     ///< an epoch shows each of them once: positions from 0 on
  std::int64_t others = 0;  ///< of another source, behind them
  double share = 0;         ///< of the others in each batch; 1: an epoch shows them once, and none of the own

  /// Of a batch of so many rows: one at least where there are others, and one of the own.
  std::int64_t others_in(std::int64_t rows) const;
  /// Rows of an epoch.
  std::int64_t rows(std::int64_t batch_size) const;
};

/// Positions of an epoch, int64, on the CPU, batch after batch. The others come in an order of their own, and once more
/// in another where they are too few; within a batch they are spread evenly.
KD_API at::Tensor epoch_order(const SampleSources& sources, std::int64_t batch_size, RandomKey epoch_key);

}  // namespace kd
