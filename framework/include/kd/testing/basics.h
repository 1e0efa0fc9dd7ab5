// Checks that every plugin test can use: devices, gradients, and a component made from TOML text.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/batch.h"
#include "kd/loss.h"

namespace kd::testing {

/// CPU, and the first CUDA device where there is one; or the one that KDRUN_TEST_DEVICE names.
KD_API std::vector<at::Device> devices();

/// Tensors of fixed pseudo-random numbers, the same on every machine: standard normal, float.
KD_API at::Tensor normal(at::IntArrayRef shape, std::uint64_t seed = 0);

/// Largest difference between the gradient of the scalar `f` at `x` by autograd and by central differences, in double
/// precision, relative to 1 + the largest gradient.
KD_API double gradient_error(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x,
                             double step = 1e-5);

/// A batch of uint8 images with index 0 … n − 1 and labels i mod classes.
KD_API Batch byte_batch(std::int64_t n, std::int64_t channels, std::int64_t height, std::int64_t width,
                        std::int64_t classes, std::uint64_t seed = 0);

/// Parameters and buffers of the module of a loss, by name; none where it has no module.
KD_API std::map<std::string, at::Tensor> parameters_of(Loss& loss);
KD_API std::map<std::string, at::Tensor> buffers_of(Loss& loss);
/// Brings them to the device and, those of floating type, to the precision.
KD_API void place_module(Loss& loss, at::Device device, at::ScalarType precision);

using Rows = std::vector<std::vector<double>>;

/// The rows of a matrix as plain numbers.
inline Rows rows(const at::Tensor& matrix) {
  const at::Tensor flat = matrix.detach().to(at::kCPU, at::kDouble).contiguous();
  Rows result;
  for (std::int64_t i = 0; i < flat.size(0); ++i) {
    const double* row = flat.const_data_ptr<double>() + i * flat.size(1);
    result.emplace_back(row, row + flat.size(1));
  }
  return result;
}

}  // namespace kd::testing
