// step_scalars.h
#include "engine/step_scalars.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace kd {

StepScalars::StepScalars(std::size_t count, at::Device device) {
  if (device.is_cpu()) return;
  values_ = at::empty({static_cast<std::int64_t>(count)}, at::TensorOptions().dtype(at::kFloat).device(device));
}

void StepScalars::write(const std::vector<float>& numbers) {
  if (!on_device()) return;
  // Pinned memory anew each time: the copy of the step before may not be done.
  const at::Tensor host = at::empty({values_.size(0)}, at::TensorOptions().dtype(at::kFloat).pinned_memory(true));
  std::copy(numbers.begin(), numbers.end(), host.mutable_data_ptr<float>());
  values_.copy_(host, /*non_blocking=*/true);
}

at::Tensor StepScalars::at(std::size_t i) const {
  return on_device() ? values_[static_cast<std::int64_t>(i)] : at::Tensor();
}

}  // namespace kd
