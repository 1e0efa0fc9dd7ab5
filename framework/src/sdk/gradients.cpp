// kd::gradients of kd/tensor.h.
#include <torch/csrc/autograd/autograd.h>

#include "kd/tensor.h"

namespace kd {

std::vector<at::Tensor> gradients(const at::Tensor& scalar, const std::vector<at::Tensor>& by, bool differentiable) {
  return torch::autograd::grad({scalar}, by, {}, /*retain_graph=*/true, differentiable);
}

}  // namespace kd
