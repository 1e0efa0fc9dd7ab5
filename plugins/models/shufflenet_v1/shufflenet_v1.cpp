// ShuffleNet of Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
// CVPR 2018, arXiv 1707.01083, for images of 32 × 32, as in RepDistiller's benchmark, with the same names of
// parameters.
//   model = { type = "shufflenet_v1" }
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <torch/nn.h>

#include <array>

#include "../shared/blocks.h"
#include "../shared/channel_shuffle.h"
#include "kd/plugin.h"

namespace {

constexpr std::size_t kStages = 3;
constexpr std::int64_t kStem = 24;
constexpr std::int64_t kGroups = 3;

class Unit final : public torch::nn::Module {
 public:
  /// With a stride of 2 the shortcut's channels stand behind the `out` of the branch; otherwise the two are added.
  Unit(std::int64_t in, std::int64_t out, std::int64_t stride)
      // The stem has too few channels to be worth grouping: section 3.2 of the paper.
      : groups_(in == kStem ? 1 : kGroups),
        stride_(stride),
        narrow_(*this, 1, in, out / 4, {.groups = groups_}),
        depthwise_(*this, 2, out / 4, out / 4, {.size = 3, .stride = stride, .groups = out / 4}),
        widen_(*this, 3, out / 4, out, {.groups = kGroups}) {}

  at::Tensor forward(const at::Tensor& x, kd::Taps& taps, const std::string& name) {
    at::Tensor y = blocks::shuffle_channels(narrow_.forward(x).relu_(), groups_);
    y = widen_.forward(depthwise_.forward(y).relu_());
    y = stride_ == 2 ? at::cat({y, at::avg_pool2d(x, 3, 2, 1)}, 1) : y.add_(x);
    return blocks::activate(y, taps, name);
  }

 private:
  std::int64_t groups_, stride_;
  blocks::NormalizedConvolution narrow_, depthwise_, widen_;
};

class ShuffleNetV1Module final : public torch::nn::Module {
 public:
  explicit ShuffleNetV1Module(const kd::Model::Context& context) : stem_(*this, 1, context.channels, kStem, {}) {
    constexpr std::array<std::int64_t, kStages + 1> widths{kStem, 240, 480, 960};
    constexpr std::array<int, kStages> units{4, 8, 4};
    for (std::size_t i = 0; i < kStages; ++i) {
      stages_.push_back(register_module("layer" + std::to_string(i + 1), std::make_shared<blocks::Stage<Unit>>()));
      stages_.back()->append(widths[i], widths[i + 1] - widths[i], 2);
      for (int unit = 1; unit < units[i]; ++unit) stages_.back()->append(widths[i + 1], widths[i + 1], 1);
    }
    linear_ = register_module("linear", torch::nn::Linear(widths.back(), context.classes));
  }

  at::Tensor stem(const at::Tensor& images, kd::Taps& /*taps*/) { return stem_.forward(images).relu_(); }
  at::Tensor behind(const at::Tensor& map, std::size_t done, kd::Taps& taps, kd::RandomKey /*key*/) {
    return blocks::classify(blocks::run_stages(map, stages_, done, taps), linear_, taps);
  }
  torch::nn::Linear& classifier() { return linear_; }

 private:
  blocks::NormalizedConvolution stem_;
  std::vector<std::shared_ptr<blocks::Stage<Unit>>> stages_;
  torch::nn::Linear linear_{nullptr};
};

class ShuffleNetV1 final : public blocks::Network<ShuffleNetV1Module> {
 public:
  using Params = kd::NoParameters;

  ShuffleNetV1(const Params&, const Context& context)
      : Network(std::make_shared<ShuffleNetV1Module>(context), kStages) {}
};

}  // namespace

KD_REGISTER(kd::Model, "shufflenet_v1", ShuffleNetV1,
            "ShuffleNet with 3 groups for small images (Zhang et al., 2018; ShuffleV1 in RepDistiller): a stem of 1×1 "
            "convolutions that keeps the image's size; weights start as PyTorch's layers do (uniform)")
