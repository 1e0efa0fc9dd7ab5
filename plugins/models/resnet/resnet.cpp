// The CIFAR residual networks of He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
// arXiv 1512.03385, in the form that the benchmark of RepDistiller trains, with the same names of parameters.
//   model = { type = "resnet", depth = 20, width = 1 }
#include <torch/nn.h>

#include <algorithm>

#include "../shared/blocks.h"
#include "kd/plugin.h"

namespace {

constexpr std::int64_t kSmallestDepth = 8;
constexpr std::int64_t kLargestDepth = 110;
constexpr std::size_t kStages = 3;

class BasicBlock final : public torch::nn::Module {
 public:
  BasicBlock(std::int64_t in, std::int64_t out, std::int64_t stride)
      : first_(*this, 1, in, out, {.size = 3, .stride = stride}), second_(*this, 2, out, out, {.size = 3}) {
    if (stride == 1 && in == out) return;
    projection_ = register_module(
        "downsample",
        torch::nn::Sequential(blocks::make_convolution(in, out, {.stride = stride}), torch::nn::BatchNorm2d(out)));
  }

  at::Tensor forward(const at::Tensor& x, kd::Taps& taps, const std::string& name) {
    const at::Tensor y = second_.forward(first_.forward(x).relu_());
    return blocks::activate(y.add_(projection_ ? projection_->forward(x) : x), taps, name);
  }

 private:
  blocks::NormalizedConvolution first_, second_;
  torch::nn::Sequential projection_{nullptr};
};

using Stage = blocks::Stage<BasicBlock>;

class ResNetModule final : public torch::nn::Module {
 public:
  ResNetModule(std::int64_t blocks, std::int64_t width, const kd::Model::Context& context)
      : stem_(*this, 1, context.channels, stem_width(width), {.size = 3}) {
    std::int64_t in = stem_width(width);
    for (std::size_t i = 0; i < kStages; ++i) {
      const std::int64_t out = (std::int64_t{16} << i) * width;
      const auto stage = std::make_shared<Stage>();
      for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t stride = i > 0 && block == 0 ? 2 : 1;
        stage->append(in, out, stride);
        in = out;
      }
      stages_.push_back(register_module("layer" + std::to_string(i + 1), stage));
    }
    fc_ = register_module("fc", torch::nn::Linear(in, context.classes));
    blocks::start_convolutions_normal(*this);
  }

  at::Tensor stem(const at::Tensor& images, kd::Taps& /*taps*/) { return stem_.forward(images).relu_(); }
  at::Tensor behind(const at::Tensor& map, std::size_t done, kd::Taps& taps, kd::RandomKey /*key*/) {
    return blocks::classify(blocks::run_stages(map, stages_, done, taps), fc_, taps);
  }
  torch::nn::Linear& classifier() { return fc_; }
  std::string batch_norm_of(std::size_t stage) const {
    const std::size_t last = stages_[stage - 1]->size() - 1;
    return "layer" + std::to_string(stage) + "." + std::to_string(last) + ".bn2";
  }

 private:
  static std::int64_t stem_width(std::int64_t width) { return std::max<std::int64_t>(16, 8 * width); }

  blocks::NormalizedConvolution stem_;
  std::vector<std::shared_ptr<Stage>> stages_;
  torch::nn::Linear fc_{nullptr};
};

class ResNet final : public blocks::Network<ResNetModule> {
 public:
  struct Params {
    std::int64_t depth = 20;
    std::int64_t width = 1;

    static void schema(kd::Schema<Params>& s) {
      s.field("depth", &Params::depth,
              "layers with weights, 6n + 2 for n blocks in each of the three stages; "
              "20, 32, 44, 56 and 110 are the paper's, 8 and 14 usual students")
          .def(20)
          .range(static_cast<double>(kSmallestDepth), static_cast<double>(kLargestDepth));
      s.field("width", &Params::width,
              "factor of the stages' channels 16, 32, 64; the stem has 16, or 8 times the factor where that is more: "
              "4 makes resnet8x4 of depth 8 and resnet32x4 of depth 32")
          .def(1)
          .at_least(1);
    }
  };

  ResNet(const Params& params, const Context& context)
      : Network(std::make_shared<ResNetModule>(count_blocks(params.depth), params.width, context), kStages) {}

 private:
  static std::int64_t count_blocks(std::int64_t depth) {
    if ((depth - 2) % 6 == 0) return (depth - 2) / 6;
    std::string valid;
    for (std::int64_t d = kSmallestDepth; d <= kLargestDepth; d += 6) {
      if (!valid.empty()) valid += ", ";
      valid += std::to_string(d);
    }
    throw kd::RecipeError("depth = " + std::to_string(depth) + " is not 6n + 2; valid depths: " + valid);
  }
};

}  // namespace

KD_REGISTER(
    kd::Model, "resnet", ResNet,
    "CIFAR ResNet of basic blocks with projection shortcuts (He et al., 2016, as in RepDistiller); convolutions "
    "start Kaiming-normal (fan-out, relu), batch norm at weight 1 and bias 0")
