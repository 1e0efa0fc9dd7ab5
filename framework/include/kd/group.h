// The processes that train a stage together. One alone unless a run was started as several.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "kd/api.h"

namespace kd {

/// Every process calls the same functions in the same order, with tensors of the same shapes unless it says otherwise.
/// This class is the group of one process, for which there is nothing to do.
class KD_API Group {
 public:
  virtual ~Group();
  /// The group of one process.
  static Group& alone();

  /// The number of this process, from 0 on.
  virtual std::int64_t rank() const { return 0; }
  virtual std::int64_t size() const { return 1; }
  bool is_first() const { return rank() == 0; }
  /// Replaces each tensor by its sum over the processes.
  virtual void sum(const std::vector<at::Tensor>& /*tensors*/) {}
  /// Replaces each tensor by that of process 0.
  virtual void broadcast(const std::vector<at::Tensor>& /*tensors*/) {}
  /// The rows of every process, those of process 0 first. Processes may have other numbers of rows.
  virtual at::Tensor gather(const at::Tensor& rows) { return rows; }
  /// Waits until every process is here.
  virtual void wait() {}
};

/// Group::gather() with a gradient: of the features of a whole batch, where a loss looks across it.
KD_API at::Tensor gather_with_gradient(Group& group, const at::Tensor& rows);

}  // namespace kd
