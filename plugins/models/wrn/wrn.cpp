// The wide residual networks of Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, arXiv 1605.07146, in the
// form that the benchmark of RepDistiller trains, with the same names of parameters.
//   model = { type = "wrn", depth = 16, widen = 2, dropout = 0.0 }
#include <torch/nn.h>

#include <array>

#include "../shared/blocks.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"

namespace {

constexpr std::int64_t kSmallestDepth = 10;
constexpr std::int64_t kLargestDepth = 100;
constexpr std::size_t kStages = 3;

/// A block with batch norm and activation before each convolution; where the channels change, the shortcut is a
/// convolution of the activated input.
class Block final : public torch::nn::Module {
 public:
  Block(std::int64_t in, std::int64_t out, std::int64_t stride, double dropout)
      : bn1_(register_module("bn1", torch::nn::BatchNorm2d(in))),
        conv1_(register_module("conv1", blocks::make_convolution(in, out, {.size = 3, .stride = stride}))),
        bn2_(register_module("bn2", torch::nn::BatchNorm2d(out))),
        conv2_(register_module("conv2", blocks::make_convolution(out, out, {.size = 3}))),
        dropout_(dropout) {
    if (in == out) return;
    shortcut_ = register_module("convShortcut", blocks::make_convolution(in, out, {.stride = stride}));
  }

  /// Offers the normalised input as `name`.
  at::Tensor forward(const at::Tensor& x, kd::Taps& taps, const std::string& name, kd::RandomKey key) {
    const at::Tensor activated = blocks::activate(bn1_->forward(x), taps, name);
    at::Tensor y = bn2_->forward(conv1_->forward(activated)).relu_();
    if (is_training()) y = kd::dropout(y, dropout_, key);
    return conv2_->forward(y).add_(shortcut_ ? shortcut_->forward(activated) : x);
  }

 private:
  torch::nn::BatchNorm2d bn1_;
  torch::nn::Conv2d conv1_;
  torch::nn::BatchNorm2d bn2_;
  torch::nn::Conv2d conv2_;
  torch::nn::Conv2d shortcut_{nullptr};
  double dropout_;
};

class Stage final : public torch::nn::Module {
 public:
  Stage(std::int64_t in, std::int64_t out, std::int64_t stride, std::int64_t blocks, double dropout) {
    auto layer = register_module("layer", torch::nn::ModuleList());
    for (std::int64_t i = 0; i < blocks; ++i) {
      blocks_.push_back(std::make_shared<Block>(i == 0 ? in : out, out, i == 0 ? stride : 1, dropout));
      layer->push_back(blocks_.back());
    }
  }

  /// Offers the normalised input as `name`.
  at::Tensor forward(at::Tensor x, kd::Taps& taps, const std::string& name, kd::RandomKey key) {
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      x = blocks_[i]->forward(x, taps, i == 0 ? name : std::string(), key.with(i));
    }
    return x;
  }

 private:
  std::vector<std::shared_ptr<Block>> blocks_;
};

class WrnModule final : public torch::nn::Module {
 public:
  WrnModule(std::int64_t blocks, std::int64_t widen, double dropout, const kd::Model::Context& context) {
    const std::array<std::int64_t, kStages + 1> widths{16, 16 * widen, 32 * widen, 64 * widen};
    conv1_ = register_module("conv1", blocks::make_convolution(context.channels, widths[0], {.size = 3}));
    for (std::size_t i = 0; i < kStages; ++i) {
      const auto stage = std::make_shared<Stage>(widths[i], widths[i + 1], i == 0 ? 1 : 2, blocks, dropout);
      stages_.push_back(register_module("block" + std::to_string(i + 1), stage));
    }
    bn1_ = register_module("bn1", torch::nn::BatchNorm2d(widths.back()));
    fc_ = register_module("fc", torch::nn::Linear(widths.back(), context.classes));
    blocks::start_convolutions_normal(*this);
    torch::nn::init::zeros_(fc_->bias);
  }

  at::Tensor stem(const at::Tensor& images, kd::Taps& /*taps*/) { return conv1_->forward(images); }
  at::Tensor behind(at::Tensor x, std::size_t done, kd::Taps& taps, kd::RandomKey key) {
    // A stage ends without batch norm: that of the next one's first block is where "_pre" is taken.
    const auto before = [](std::size_t stage) { return stage == 0 ? "" : blocks::stage_name(stage) + "_pre"; };
    for (std::size_t i = done; i < stages_.size(); ++i) {
      const std::string name = blocks::stage_name(i + 1);
      x = stages_[i]->forward(x, taps, before(i), key.with(name));
      taps.offer(name, x);
    }
    return blocks::classify(blocks::activate(bn1_->forward(x), taps, before(kStages)), fc_, taps);
  }
  torch::nn::Linear& classifier() { return fc_; }
  std::string batch_norm_of(std::size_t stage) const {
    return stage == kStages ? "bn1" : "block" + std::to_string(stage + 1) + ".layer.0.bn1";
  }

 private:
  torch::nn::Conv2d conv1_{nullptr};
  std::vector<std::shared_ptr<Stage>> stages_;
  torch::nn::BatchNorm2d bn1_{nullptr};
  torch::nn::Linear fc_{nullptr};
};

class Wrn final : public blocks::Network<WrnModule> {
 public:
  struct Params {
    std::int64_t depth = 16;
    std::int64_t widen = 2;
    double dropout = 0;

    static void schema(kd::Schema<Params>& s) {
      s.field("depth", &Params::depth,
              "layers with weights, 6n + 4 for n blocks in each of the three stages; 16, 28 and 40 are usual")
          .def(16)
          .range(static_cast<double>(kSmallestDepth), static_cast<double>(kLargestDepth));
      s.field("widen", &Params::widen,
              "factor of the stages' channels 16, 32, 64: 2 makes wrn_16_2 of depth 16 and wrn_40_2 of depth 40")
          .def(2)
          .at_least(1);
      s.field("dropout", &Params::dropout,
              "probability with which a value between the two convolutions of a block is zero in training; the "
              "benchmark has 0, the paper 0.3 in some networks")
          .def(0.0)
          .at_least(0)
          .below(1);
    }
  };

  Wrn(const Params& params, const Context& context)
      : Network(std::make_shared<WrnModule>(count_blocks(params.depth), params.widen, params.dropout, context),
                kStages),
        drops_(params.dropout > 0) {}

  bool recordable() const override { return !drops_; }

 private:
  static std::int64_t count_blocks(std::int64_t depth) {
    if ((depth - 4) % 6 == 0) return (depth - 4) / 6;
    std::string valid;
    for (std::int64_t d = kSmallestDepth; d <= kLargestDepth; d += 6) {
      if (!valid.empty()) valid += ", ";
      valid += std::to_string(d);
    }
    throw kd::RecipeError("depth = " + std::to_string(depth) + " is not 6n + 4; valid depths: " + valid);
  }

  bool drops_;
};

}  // namespace

KD_REGISTER(kd::Model, "wrn", Wrn,
            "Wide ResNet (Zagoruyko and Komodakis, 2016, as in RepDistiller); a stage's feature is the sum of its last "
            "block, and \"_pre\" the next batch norm of it; convolutions start Kaiming-normal (fan-out, relu), the "
            "classifier's bias at 0")
