// The CIFAR residual networks of He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
// arXiv 1512.03385, in the form that the benchmark of RepDistiller trains, with the same names of parameters.
#include <torch/nn.h>

#include <algorithm>
#include <array>

#include "kd/model.h"
#include "kd/plugin.h"

namespace {

constexpr std::int64_t kSmallestDepth = 8;
constexpr std::int64_t kLargestDepth = 110;
constexpr std::int64_t kStages = 3;

torch::nn::Conv2d make_convolution(std::int64_t in, std::int64_t out, std::int64_t size, std::int64_t stride) {
  const auto options = torch::nn::Conv2dOptions(in, out, size).stride(stride).padding(size / 2).bias(false);
  torch::nn::Conv2d convolution(options);
  torch::nn::init::kaiming_normal_(convolution->weight, 0, torch::kFanOut, torch::kReLU);
  return convolution;
}

class BasicBlock final : public torch::nn::Module {
 public:
  BasicBlock(std::int64_t in, std::int64_t out, std::int64_t stride)
      : conv1_(register_module("conv1", make_convolution(in, out, 3, stride))),
        bn1_(register_module("bn1", torch::nn::BatchNorm2d(out))),
        conv2_(register_module("conv2", make_convolution(out, out, 3, 1))),
        bn2_(register_module("bn2", torch::nn::BatchNorm2d(out))) {
    if (stride == 1 && in == out) return;
    projection_ = register_module(
        "downsample", torch::nn::Sequential(make_convolution(in, out, 1, stride), torch::nn::BatchNorm2d(out)));
  }

  /// The block's output before its last activation.
  at::Tensor add_branches(const at::Tensor& x) {
    at::Tensor y = bn1_->forward(conv1_->forward(x)).relu_();
    y = bn2_->forward(conv2_->forward(y));
    return y.add_(projection_ ? projection_->forward(x) : x);
  }

 private:
  torch::nn::Conv2d conv1_;
  torch::nn::BatchNorm2d bn1_;
  torch::nn::Conv2d conv2_;
  torch::nn::BatchNorm2d bn2_;
  torch::nn::Sequential projection_{nullptr};
};

class Stage final : public torch::nn::Module {
 public:
  Stage(std::int64_t in, std::int64_t out, std::int64_t stride, std::int64_t blocks) {
    for (std::int64_t i = 0; i < blocks; ++i) {
      const auto block = std::make_shared<BasicBlock>(i == 0 ? in : out, out, i == 0 ? stride : 1);
      blocks_.push_back(register_module(std::to_string(i), block));
    }
  }

  /// The stage's output before its last activation.
  at::Tensor add_branches(at::Tensor x) {
    for (std::size_t i = 0; i + 1 < blocks_.size(); ++i) x = blocks_[i]->add_branches(x).relu_();
    return blocks_.back()->add_branches(x);
  }

 private:
  std::vector<std::shared_ptr<BasicBlock>> blocks_;
};

class ResNetModule final : public torch::nn::Module {
 public:
  ResNetModule(std::int64_t blocks, std::int64_t width, const kd::Model::Context& context) {
    const std::int64_t stem = std::max<std::int64_t>(16, 8 * width);
    conv1_ = register_module("conv1", make_convolution(context.channels, stem, 3, 1));
    bn1_ = register_module("bn1", torch::nn::BatchNorm2d(stem));
    const std::array<std::int64_t, kStages + 1> widths{stem, 16 * width, 32 * width, 64 * width};
    for (std::size_t i = 0; i < kStages; ++i) {
      const auto stage = std::make_shared<Stage>(widths[i], widths[i + 1], i == 0 ? 1 : 2, blocks);
      stages_.push_back(register_module("layer" + std::to_string(i + 1), stage));
    }
    fc_ = register_module("fc", torch::nn::Linear(widths.back(), context.classes));
  }

  at::Tensor forward(const at::Tensor& images, kd::Taps& taps) {
    at::Tensor x = bn1_->forward(conv1_->forward(images)).relu_();
    taps.offer("stem", x);
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      const std::string name = "stage" + std::to_string(i + 1);
      const at::Tensor sum = stages_[i]->add_branches(x);
      x = at::relu(sum);
      taps.offer(name + "_pre", sum);
      taps.offer(name, x);
    }
    x = x.mean({2, 3});
    taps.offer("pooled", x);
    x = fc_->forward(x);
    taps.offer("logits", x);
    return x;
  }

 private:
  torch::nn::Conv2d conv1_{nullptr};
  torch::nn::BatchNorm2d bn1_{nullptr};
  std::vector<std::shared_ptr<Stage>> stages_;
  torch::nn::Linear fc_{nullptr};
};

class ResNet final : public kd::Model {
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
      : module_(std::make_shared<ResNetModule>(count_blocks(params.depth), params.width, context)) {}

  at::Tensor forward(const at::Tensor& images, const kd::ForwardPass& pass) override {
    kd::Taps none;
    return module_->forward(images, pass.taps != nullptr ? *pass.taps : none);
  }

  std::vector<std::string> tap_names() const override {
    return {"stem", "stage1_pre", "stage1", "stage2_pre", "stage2", "stage3_pre", "stage3", "pooled", "logits"};
  }

  std::shared_ptr<torch::nn::Module> module() override { return module_; }
  bool convolutional() const override { return true; }

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

  std::shared_ptr<ResNetModule> module_;
};

}  // namespace

KD_REGISTER(
    kd::Model, "resnet", ResNet,
    "CIFAR ResNet of basic blocks with projection shortcuts (He et al., 2016, as in RepDistiller); convolutions "
    "start Kaiming-normal (fan-out, relu), batch norm at weight 1 and bias 0")
