// The networks of Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
// 2015, arXiv 1409.1556, with batch norm and one linear layer, in the form that the benchmark of RepDistiller trains.
//   model = { type = "vgg", depth = 8 }
#include <ATen/ops/max_pool2d.h>
#include <torch/nn.h>

#include <algorithm>
#include <array>
#include <map>

#include "../shared/blocks.h"
#include "kd/plugin.h"

namespace {

constexpr std::size_t kBlocks = 5;
constexpr std::array<std::int64_t, kBlocks> kWidths{64, 128, 256, 512, 512};
constexpr std::int64_t kSmallestImage = 8;
// From this size on the benchmark halves the image before the last block too.
constexpr std::int64_t kLargeImage = 64;

using Layers = std::array<int, kBlocks>;

/// Convolutions in each block, by depth.
const std::map<std::int64_t, Layers>& designs() {
  static const std::map<std::int64_t, Layers> known{
      {8, {1, 1, 1, 1, 1}}, {11, {1, 1, 2, 2, 2}}, {13, {2, 2, 2, 2, 2}}, {16, {2, 2, 3, 3, 3}}, {19, {2, 2, 4, 4, 4}}};
  return known;
}

/// Ends before its last activation.
torch::nn::Sequential make_block(std::int64_t in, std::int64_t out, int layers) {
  torch::nn::Sequential block;
  for (int i = 0; i < layers; ++i) {
    if (i > 0) block->push_back(torch::nn::ReLU(torch::nn::ReLUOptions(/*inplace=*/true)));
    block->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(i == 0 ? in : out, out, 3).padding(1)));
    block->push_back(torch::nn::BatchNorm2d(out));
  }
  return block;
}

class VggModule final : public torch::nn::Module {
 public:
  VggModule(const Layers& layers, const kd::Model::Context& context)
      : halvings_(context.height >= kLargeImage ? kBlocks - 1 : kBlocks - 2) {
    for (std::size_t i = 0; i < kBlocks; ++i) {
      const std::int64_t in = i == 0 ? context.channels : kWidths[i - 1];
      blocks_.push_back(register_module("block" + std::to_string(i), make_block(in, kWidths[i], layers[i])));
    }
    classifier_ = register_module("classifier", torch::nn::Linear(kWidths.back(), context.classes));
    blocks::start_convolutions_normal(*this);
    torch::nn::init::normal_(classifier_->weight, 0, 0.01);
    torch::nn::init::zeros_(classifier_->bias);
  }

  at::Tensor stem(const at::Tensor& images, kd::Taps& taps) {
    return blocks::activate(blocks_[0]->forward(images), taps, "stem_pre");
  }
  at::Tensor behind(at::Tensor x, std::size_t done, kd::Taps& taps, kd::RandomKey /*key*/) {
    for (std::size_t i = done + 1; i < kBlocks; ++i) {
      const std::string name = blocks::stage_name(i);
      x = blocks::activate(blocks_[i]->forward(i <= halvings_ ? at::max_pool2d(x, 2) : x), taps, name + "_pre");
      taps.offer(name, x);
    }
    return blocks::classify(x, classifier_, taps);
  }
  torch::nn::Linear& classifier() { return classifier_; }
  std::string batch_norm_of(std::size_t stage) const {
    return "block" + std::to_string(stage) + "." + std::to_string(blocks_[stage]->size() - 1);
  }

 private:
  std::size_t halvings_;  // of the image, before each of the first blocks behind the stem
  std::vector<torch::nn::Sequential> blocks_;
  torch::nn::Linear classifier_{nullptr};
};

class Vgg final : public blocks::Network<VggModule> {
 public:
  struct Params {
    std::int64_t depth = 8;

    static void schema(kd::Schema<Params>& s) {
      s.field(
           "depth", &Params::depth,
           "layers with weights, 8, 11, 13, 16 or 19; where the original has three linear layers these networks have "
           "one, and 8 has one convolution in each of its five blocks")
          .def(8)
          .range(8, 19);
    }
  };

  Vgg(const Params& params, const Context& context)
      : Network(std::make_shared<VggModule>(find_design(params.depth), check(context)), kBlocks - 1) {}

 private:
  static const Layers& find_design(std::int64_t depth) {
    const auto found = designs().find(depth);
    if (found != designs().end()) return found->second;
    throw kd::RecipeError("depth = " + std::to_string(depth) + " is unknown; valid depths: 8, 11, 13, 16, 19");
  }

  static const Context& check(const Context& context) {
    if (std::min(context.height, context.width) >= kSmallestImage) return context;
    throw kd::RecipeError("vgg halves images three times: they must be 8 × 8 or larger, and are " +
                          std::to_string(context.height) + " × " + std::to_string(context.width));
  }
};

}  // namespace

KD_REGISTER(
    kd::Model, "vgg", Vgg,
    "VGG with batch norm (Simonyan and Zisserman, 2015, as in RepDistiller); the first of its five blocks is the "
    "stem; convolutions start Kaiming-normal (fan-out, relu), the classifier normal with deviation 0.01")
