// The numbers of the host that change with every step, in one small tensor on the device that is written before it: a
// kernel then finds them at an address that stays the same.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "kd/api.h"

namespace kd {

/// On the CPU there are none: a number of the host is at hand there.
class KD_API StepScalars {
 public:
  StepScalars() = default;
  StepScalars(std::size_t count, at::Device device);

  bool on_device() const { return values_.defined(); }
  /// Copies the numbers to the device, without waiting for it.
  void write(const std::vector<float>& numbers);
  /// The one in place `i`, a float scalar; undefined on the CPU.
  at::Tensor at(std::size_t i) const;

 private:
  at::Tensor values_;
};

}  // namespace kd
