// The residual networks of He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv
// 1512.03385, that the paper has for ImageNet, with the stem for small images that RepDistiller's benchmark gives them.
//   model = { type = "resnet50", depth = 50 }
#include <torch/nn.h>

#include <array>
#include <map>

#include "../shared/blocks.h"
#include "kd/plugin.h"

namespace {

constexpr std::size_t kStages = 4;
constexpr std::int64_t kStem = 64;

struct Design {
  std::array<int, kStages> blocks;
  bool bottleneck;
};

const std::map<std::int64_t, Design>& designs() {
  static const std::map<std::int64_t, Design> known{
      {18, {{2, 2, 2, 2}, false}}, {34, {{3, 4, 6, 3}, false}}, {50, {{3, 4, 6, 3}, true}}};
  return known;
}

/// Channels behind a block whose 3×3 convolution has `width` of them.
std::int64_t widen(std::int64_t width, bool bottleneck) { return bottleneck ? 4 * width : width; }

/// Two 3×3 convolutions, or one between two of 1×1: a bottleneck.
class Block final : public torch::nn::Module {
 public:
  Block(std::int64_t in, std::int64_t width, std::int64_t stride, bool bottleneck) {
    const std::int64_t out = widen(width, bottleneck);
    if (bottleneck) {
      layers_ = {{*this, 1, in, width, {}},
                 {*this, 2, width, width, {.size = 3, .stride = stride}},
                 {*this, 3, width, out, {}}};
    } else {
      layers_ = {{*this, 1, in, width, {.size = 3, .stride = stride}}, {*this, 2, width, out, {.size = 3}}};
    }
    if (stride == 1 && in == out) return;
    shortcut_ = register_module("shortcut", torch::nn::Sequential(blocks::make_convolution(in, out, {.stride = stride}),
                                                                  torch::nn::BatchNorm2d(out)));
  }

  at::Tensor forward(const at::Tensor& x, kd::Taps& taps, const std::string& name) {
    at::Tensor y = layers_.front().forward(x);
    for (std::size_t i = 1; i < layers_.size(); ++i) y = layers_[i].forward(y.relu_());
    return blocks::activate(y.add_(shortcut_ ? shortcut_->forward(x) : x), taps, name);
  }

 private:
  std::vector<blocks::NormalizedConvolution> layers_;
  torch::nn::Sequential shortcut_{nullptr};
};

class ResNet50Module final : public torch::nn::Module {
 public:
  ResNet50Module(const Design& design, const kd::Model::Context& context)
      : stem_(*this, 1, context.channels, kStem, {.size = 3}), bottleneck_(design.bottleneck) {
    std::int64_t in = kStem;
    for (std::size_t i = 0; i < kStages; ++i) {
      const std::int64_t width = kStem << i;
      stages_.push_back(register_module("layer" + std::to_string(i + 1), std::make_shared<blocks::Stage<Block>>()));
      for (int block = 0; block < design.blocks[i]; ++block) {
        stages_.back()->append(in, width, block == 0 && i > 0 ? 2 : 1, design.bottleneck);
        in = widen(width, design.bottleneck);
      }
    }
    linear_ = register_module("linear", torch::nn::Linear(in, context.classes));
    blocks::start_convolutions_normal(*this);
  }

  at::Tensor stem(const at::Tensor& images, kd::Taps& /*taps*/) { return stem_.forward(images).relu_(); }
  at::Tensor behind(const at::Tensor& map, std::size_t done, kd::Taps& taps, kd::RandomKey /*key*/) {
    return blocks::classify(blocks::run_stages(map, stages_, done, taps), linear_, taps);
  }
  torch::nn::Linear& classifier() { return linear_; }
  std::string batch_norm_of(std::size_t stage) const {
    const std::size_t last = stages_[stage - 1]->size() - 1;
    return "layer" + std::to_string(stage) + "." + std::to_string(last) + (bottleneck_ ? ".bn3" : ".bn2");
  }

 private:
  blocks::NormalizedConvolution stem_;
  bool bottleneck_;
  std::vector<std::shared_ptr<blocks::Stage<Block>>> stages_;
  torch::nn::Linear linear_{nullptr};
};

class ResNet50 final : public blocks::Network<ResNet50Module> {
 public:
  struct Params {
    std::int64_t depth = 50;

    static void schema(kd::Schema<Params>& s) {
      s.field("depth", &Params::depth,
              "layers with weights: 50 of bottleneck blocks, or 18 or 34 of basic blocks, which make ResNet-18 and "
              "ResNet-34")
          .def(50)
          .range(18, 50);
    }
  };

  ResNet50(const Params& params, const Context& context)
      : Network(std::make_shared<ResNet50Module>(find_design(params.depth), context), kStages) {}

 private:
  static const Design& find_design(std::int64_t depth) {
    const auto found = designs().find(depth);
    if (found != designs().end()) return found->second;
    throw kd::RecipeError("depth = " + std::to_string(depth) + " is unknown; valid depths: 18, 34, 50");
  }
};

}  // namespace

KD_REGISTER(
    kd::Model, "resnet50", ResNet50,
    "ResNet-50, -34 or -18 for small images (He et al., 2016; ResNet50 and ResNet18 in RepDistiller): a 3×3 stem "
    "of 64 channels without pooling; convolutions start Kaiming-normal (fan-out, relu); for the narrow CIFAR "
    "networks such as resnet20 see \"resnet\"")
