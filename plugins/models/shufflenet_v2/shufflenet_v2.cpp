// ShuffleNet V2 of Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018,
// arXiv 1807.11164, size 1×, for images of 32 × 32, as in RepDistiller's benchmark, with the same names of parameters.
//   model = { type = "shufflenet_v2" }
#include <ATen/ops/cat.h>
#include <torch/nn.h>

#include <array>
#include <optional>

#include "../shared/blocks.h"
#include "../shared/channel_shuffle.h"
#include "kd/plugin.h"

namespace {

constexpr std::size_t kStages = 3;
constexpr std::int64_t kStem = 24;
constexpr std::int64_t kLastChannels = 1024;

at::Tensor join_halves(const at::Tensor& first, const at::Tensor& second) {
  return blocks::shuffle_channels(at::cat({first, second}, 1), 2);
}

/// Halves the image, with all channels in both branches.
class DownUnit final : public torch::nn::Module {
 public:
  DownUnit(std::int64_t in, std::int64_t out)
      : first_depthwise_(*this, 1, in, in, {.size = 3, .stride = 2, .groups = in}),
        first_mix_(*this, 2, in, out / 2, {}),
        second_mix_(*this, 3, in, out / 2, {}),
        second_depthwise_(*this, 4, out / 2, out / 2, {.size = 3, .stride = 2, .groups = out / 2}),
        second_last_(*this, 5, out / 2, out / 2, {}) {}

  at::Tensor forward(const at::Tensor& x) {
    const at::Tensor first = first_mix_.forward(first_depthwise_.forward(x)).relu_();
    const at::Tensor second = second_depthwise_.forward(second_mix_.forward(x).relu_());
    return join_halves(first, second_last_.forward(second).relu_());
  }

 private:
  blocks::NormalizedConvolution first_depthwise_, first_mix_, second_mix_, second_depthwise_, second_last_;
};

/// Keeps half of the channels and convolves the other half.
class SplitUnit final : public torch::nn::Module {
 public:
  explicit SplitUnit(std::int64_t channels)
      : mix_(*this, 1, channels / 2, channels / 2, {}),
        depthwise_(*this, 2, channels / 2, channels / 2, {.size = 3, .groups = channels / 2}),
        last_(*this, 3, channels / 2, channels / 2, {}) {}

  at::Tensor forward(const at::Tensor& x, kd::Taps& taps, const std::string& name) {
    const std::vector<at::Tensor> halves = x.chunk(2, 1);
    at::Tensor y = last_.forward(depthwise_.forward(mix_.forward(halves[1]).relu_()));
    // The benchmark takes this feature before the shuffle too.
    if (taps.wants(name)) taps.offer(name, at::cat({halves[0], y}, 1));
    return join_halves(halves[0], y.relu_());
  }

 private:
  blocks::NormalizedConvolution mix_, depthwise_, last_;
};

/// A unit that halves the image, and the others.
class Stage final : public torch::nn::Module {
 public:
  Stage(std::int64_t in, std::int64_t out, int units)
      : down_(register_module("0", std::make_shared<DownUnit>(in, out))) {
    for (int i = 1; i <= units; ++i) {
      units_.push_back(register_module(std::to_string(i), std::make_shared<SplitUnit>(out)));
    }
  }

  at::Tensor forward(at::Tensor x, kd::Taps& taps, const std::string& name) {
    x = down_->forward(x);
    for (const auto& unit : units_) x = unit->forward(x, taps, unit == units_.back() ? name + "_pre" : std::string());
    taps.offer(name, x);
    return x;
  }

 private:
  std::shared_ptr<DownUnit> down_;
  std::vector<std::shared_ptr<SplitUnit>> units_;
};

class ShuffleNetV2Module final : public torch::nn::Module {
 public:
  explicit ShuffleNetV2Module(const kd::Model::Context& context) : stem_(*this, 1, context.channels, kStem, {}) {
    constexpr std::array<std::int64_t, kStages + 1> widths{kStem, 116, 232, 464};
    constexpr std::array<int, kStages> units{3, 7, 3};
    for (std::size_t i = 0; i < kStages; ++i) {
      const auto stage = std::make_shared<Stage>(widths[i], widths[i + 1], units[i]);
      stages_.push_back(register_module("layer" + std::to_string(i + 1), stage));
    }
    last_.emplace(*this, 2, widths.back(), kLastChannels, blocks::Window{});
    linear_ = register_module("linear", torch::nn::Linear(kLastChannels, context.classes));
  }

  at::Tensor stem(const at::Tensor& images, kd::Taps& /*taps*/) { return stem_.forward(images).relu_(); }
  at::Tensor behind(const at::Tensor& map, std::size_t done, kd::Taps& taps, kd::RandomKey /*key*/) {
    return blocks::classify(last_->forward(blocks::run_stages(map, stages_, done, taps)).relu_(), linear_, taps);
  }
  torch::nn::Linear& classifier() { return linear_; }

 private:
  blocks::NormalizedConvolution stem_;
  std::vector<std::shared_ptr<Stage>> stages_;
  std::optional<blocks::NormalizedConvolution> last_;
  torch::nn::Linear linear_{nullptr};
};

class ShuffleNetV2 final : public blocks::Network<ShuffleNetV2Module> {
 public:
  using Params = kd::NoParameters;

  ShuffleNetV2(const Params&, const Context& context)
      : Network(std::make_shared<ShuffleNetV2Module>(context), kStages) {}
};

}  // namespace

KD_REGISTER(kd::Model, "shufflenet_v2", ShuffleNetV2,
            "ShuffleNet V2 of size 1× for small images (Ma et al., 2018; ShuffleV2 in RepDistiller): a stem of 1×1 "
            "convolutions that keeps the image's size; \"_pre\" is before the last shuffle too; weights start as "
            "PyTorch's layers do (uniform)")
