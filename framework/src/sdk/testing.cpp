// kd/testing/basics.h: checks that plugin tests share.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/module.h>

#include <cmath>
#include <cstdlib>
#include <numbers>

#include "kd/random.h"
#include "kd/random_tensors.h"
#include "kd/testing/basics.h"

namespace kd::testing {

std::vector<at::Device> devices() {
  const char* only = std::getenv("KDRUN_TEST_DEVICE");
  if (only != nullptr) return {at::Device(only)};
  std::vector<at::Device> all{at::Device(at::kCPU)};
  if (at::hasCUDA()) all.emplace_back(at::kCUDA, 0);
  return all;
}

at::Tensor normal(at::IntArrayRef shape, std::uint64_t seed) {
  at::Tensor result = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
  const RandomKey key = RandomKey{seed}.with("testing");
  float* out = result.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < result.numel(); ++i) {  // Box and Muller, 1958
    const auto counter = static_cast<std::uint64_t>(2 * i + 1);
    const double radius = std::sqrt(-2 * std::log(1.0 - random_uniform(key, counter)));
    out[i] = static_cast<float>(radius * std::cos(2 * std::numbers::pi * random_uniform(key, counter + 1)));
  }
  return result;
}

double gradient_error(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x, double step) {
  at::Tensor point = x.detach().to(at::kDouble).contiguous().clone().requires_grad_(true);
  const at::Tensor gradient = torch::autograd::grad({f(point)}, {point})[0].contiguous();
  at::Tensor moved = point.detach().clone();
  double* value = moved.mutable_data_ptr<double>();
  const double* exact = gradient.const_data_ptr<double>();
  double worst = 0;
  double largest = 0;
  for (std::int64_t i = 0; i < moved.numel(); ++i) {
    const double at = value[i];
    value[i] = at + step;
    const double above = f(moved).item<double>();
    value[i] = at - step;
    const double below = f(moved).item<double>();
    value[i] = at;
    worst = std::max(worst, std::abs((above - below) / (2 * step) - exact[i]));
    largest = std::max(largest, std::abs(exact[i]));
  }
  return worst / (1 + largest);
}

std::map<std::string, at::Tensor> parameters_of(Loss& loss) {
  std::map<std::string, at::Tensor> parameters;
  if (const auto module = loss.module()) {
    for (const auto& item : module->named_parameters()) parameters[item.key()] = item.value();
  }
  return parameters;
}

std::map<std::string, at::Tensor> buffers_of(Loss& loss) {
  std::map<std::string, at::Tensor> buffers;
  if (const auto module = loss.module()) {
    for (const auto& item : module->named_buffers()) buffers[item.key()] = item.value();
  }
  return buffers;
}

void place_module(Loss& loss, at::Device device, at::ScalarType precision) {
  const auto place = [&](const std::map<std::string, at::Tensor>& tensors) {
    for (const auto& [name, tensor] : tensors)
      tensor.set_data(tensor.data().to(device, tensor.is_floating_point() ? precision : tensor.scalar_type()));
  };
  place(parameters_of(loss));
  place(buffers_of(loss));
}

Batch byte_batch(std::int64_t n, std::int64_t channels, std::int64_t height, std::int64_t width, std::int64_t classes,
                 std::uint64_t seed) {
  Batch batch;
  batch.index = at::arange(n, at::TensorOptions().dtype(at::kLong));
  batch.targets.labels = batch.index.remainder(classes);
  batch.images = random_below(RandomKey{seed}.with("bytes"), batch.index, channels * height * width, 256)
                     .to(at::kByte)
                     .view({n, channels, height, width});
  return batch;
}

}  // namespace kd::testing
