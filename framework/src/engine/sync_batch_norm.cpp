// sync_batch_norm.h: takes the place of LibTorch's operator, so that every model and adapter has it.
#include "engine/sync_batch_norm.h"

#include <ATen/ops/batch_norm_native.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/var_mean.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <optional>
#include <tuple>
#include <vector>

namespace kd {
namespace {

thread_local Group* current_group = nullptr;

/// Every dimension but that of the channels.
std::vector<std::int64_t> all_but_channels(const at::Tensor& input) {
  std::vector<std::int64_t> dimensions{0};
  for (std::int64_t d = 2; d < input.dim(); ++d) dimensions.push_back(d);
  return dimensions;
}

/// A number for each channel, in a shape that goes with `input`.
at::Tensor beside(const at::Tensor& per_channel, const at::Tensor& input) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(input.dim()), 1);
  shape[1] = per_channel.size(0);
  return per_channel.view(shape);
}

struct Moments {
  at::Tensor mean, variance;  // of each channel; the variance is that of the images themselves, over their number
  at::Tensor count;           // of values of a channel in all processes
};

/// Those of all processes, put together of the moments of each: sums of squares would lose digits.
Moments moments_of_all(const at::Tensor& input, Group& group) {
  const auto [variance, mean] = at::var_mean(input, all_but_channels(input), /*correction=*/0);
  const at::Tensor own =
      at::cat({mean, variance, at::full({1}, input.numel() / input.size(1), mean.options())}).unsqueeze(0);
  const at::Tensor all = at::zeros({group.size(), own.size(1)}, own.options());
  all.narrow(0, group.rank(), 1).copy_(own);
  group.sum({all});
  const std::int64_t channels = mean.size(0);
  const at::Tensor means = all.narrow(1, 0, channels), variances = all.narrow(1, channels, channels);
  const at::Tensor count = all.select(1, 2 * channels).sum();
  const at::Tensor shares = all.narrow(1, 2 * channels, 1) / count;
  Moments moments{.mean = (means * shares).sum(0), .variance = {}, .count = count};
  moments.variance = ((variances + (means - moments.mean).square()) * shares).sum(0);
  return moments;
}

class BatchNormOfAll : public torch::autograd::Function<BatchNormOfAll> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& running_mean,
                            const at::Tensor& running_variance, double momentum, double epsilon, std::int64_t group) {
    const at::Tensor values = input.to(at::kFloat);
    const Moments moments = moments_of_all(values, *reinterpret_cast<Group*>(group));
    if (running_mean.defined()) {
      running_mean.mul_(1 - momentum).add_(moments.mean, momentum);
      running_variance.mul_(1 - momentum).add_(moments.variance * (moments.count / (moments.count - 1)), momentum);
    }
    const at::Tensor inverse_deviation = (moments.variance + epsilon).rsqrt();
    const at::Tensor scale = weight.defined() ? inverse_deviation * weight : inverse_deviation;
    const at::Tensor shift = bias.defined() ? bias - moments.mean * scale : -moments.mean * scale;
    context->save_for_backward({input, weight, moments.mean, inverse_deviation, moments.count});
    context->saved_data["group"] = group;
    context->saved_data["has_bias"] = bias.defined();
    return (values * beside(scale, values) + beside(shift, values)).to(input.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &input = saved[0], &weight = saved[1], &mean = saved[2], &inverse_deviation = saved[3];
    const at::Tensor gradient = gradients[0].to(at::kFloat);
    const at::Tensor values = input.to(at::kFloat);
    const at::Tensor normal = (values - beside(mean, values)) * beside(inverse_deviation, values);
    const std::vector<std::int64_t> dimensions = all_but_channels(values);
    const at::Tensor sums = at::stack({gradient.sum(dimensions), (gradient * normal).sum(dimensions)});
    // The gradients of weight and bias are summed over the processes with all others.
    const at::Tensor own = sums.clone();
    reinterpret_cast<Group*>(context->saved_data["group"].toInt())->sum({sums});
    const at::Tensor means = sums / saved[4];
    const at::Tensor scale = weight.defined() ? inverse_deviation * weight : inverse_deviation;
    const at::Tensor by_input =
        (gradient - beside(means[0], values) - normal * beside(means[1], values)) * beside(scale, values);
    const bool has_bias = context->saved_data["has_bias"].toBool();
    return {by_input.to(input.scalar_type()),
            weight.defined() ? own[1] : at::Tensor(),
            has_bias ? own[0] : at::Tensor(),
            at::Tensor(),
            at::Tensor(),
            at::Tensor(),
            at::Tensor(),
            at::Tensor()};
  }
};

at::Tensor batch_norm(const at::Tensor& input, const std::optional<at::Tensor>& weight,
                      const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& running_mean,
                      const std::optional<at::Tensor>& running_variance, bool training, double momentum, double epsilon,
                      bool cudnn) {
  if (current_group == nullptr || !training) {
    return at::native::batch_norm(input, weight, bias, running_mean, running_variance, training, momentum, epsilon,
                                  cudnn);
  }
  const at::Tensor none;
  return BatchNormOfAll::apply(input, weight.value_or(none), bias.value_or(none), running_mean.value_or(none),
                               running_variance.value_or(none), momentum, epsilon,
                               reinterpret_cast<std::int64_t>(current_group));
}

}  // namespace

// Beside LibTorch's own, which is one for every device.
TORCH_LIBRARY_IMPL(aten, AutogradCPU, operators) { operators.impl("batch_norm", batch_norm); }
TORCH_LIBRARY_IMPL(aten, AutogradCUDA, operators) { operators.impl("batch_norm", batch_norm); }

SyncBatchNorm::SyncBatchNorm(Group* group) : before_(current_group) {
  current_group = group != nullptr && group->size() > 1 ? group : nullptr;
}

SyncBatchNorm::~SyncBatchNorm() { current_group = before_; }

}  // namespace kd
