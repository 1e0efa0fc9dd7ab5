// transfer.h
#include "data/transfer.h"

#include <ATen/ops/empty.h>

namespace kd {

at::Tensor to_device(const at::Tensor& tensor, at::Device device) {
  if (device.is_cpu()) return tensor;
  const at::Tensor pinned = at::empty(tensor.sizes(), tensor.options().pinned_memory(true)).copy_(tensor);
  return pinned.to(device, /*non_blocking=*/true);
}

}  // namespace kd
