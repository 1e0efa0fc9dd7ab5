// Which batches make one update together, and what each weighs in it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "data/batch_source.h"
#include "engine/trained_network.h"

namespace kd {

/// How the steps of a stage fall into batches and updates.
struct KD_API WindowSettings {
  std::int64_t samples = 0, batch_size = 1;
  std::int64_t batches = 1;     ///< of an epoch
  std::int64_t steps = 1;       ///< of the stage
  std::int64_t accumulate = 1;  ///< batches of an update; the last update of a stage may have fewer
  Shard shard = {};             ///< whose rows of each batch are weighed
};

/// An update of several batches is that of one batch with all their rows: each weighs as many rows as it has, and where
/// a loss is a mean over labelled rows, as many labelled ones. Both are known ahead on the host, since the order of an
/// epoch is.
class KD_API UpdateWindows {
 public:
  /// `order` gives the order of an epoch on the CPU; `labels` are those of the training set.
  UpdateWindows(const WindowSettings& settings, const std::vector<std::int64_t>& labels,
                std::function<at::Tensor(std::int64_t epoch)> order);

  std::int64_t first_step(std::int64_t step) const { return step / settings_.accumulate * settings_.accumulate; }
  UpdatePart part(std::int64_t step);
  bool all_labelled() const { return all_labelled_; }  ///< every image of the training set

 private:
  /// How many rows a batch has, and how many of them this process.
  struct Rows {
    std::int64_t all = 0, own = 0;
  };

  Rows rows(std::int64_t step) const;
  Rows labelled_rows(std::int64_t step);

  WindowSettings settings_;
  const std::vector<std::int64_t>& labels_;
  std::function<at::Tensor(std::int64_t)> order_;
  bool all_labelled_;
  std::map<std::int64_t, std::vector<Rows>> labelled_;  // of each batch, by epoch; the newest epochs only
};

}  // namespace kd
