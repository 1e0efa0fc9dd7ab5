// From the host to the device of a run, without waiting for either.
#pragma once

#include <ATen/core/Tensor.h>

#include "kd/api.h"

namespace kd {

/// A tensor of the CPU on `device`: itself on the CPU; on a GPU a copy through pinned memory, which the host does not
/// wait for.
KD_API at::Tensor to_device(const at::Tensor& tensor, at::Device device);

}  // namespace kd
