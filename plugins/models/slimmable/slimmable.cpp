// A CIFAR ResNet of several widths in one set of weights: Yu, Yang, Xu, Yang and Huang, "Slimmable Neural Networks",
// ICLR 2019, arXiv 1812.08928. Each width uses the first channels of every layer and has batch norms of its own. The
// widest has the names of the parameters of "resnet", so that either may begin with the other. The decomposed teacher
// of "Partial to Whole Knowledge Distillation", arXiv 2109.12507. See the loss "slimmable".
//   model = { type = "slimmable", depth = 32, width = 4, widths = [0.25, 0.5, 0.75, 1.0], answers_at = 0 }
#include <ATen/ops/conv2d.h>
#include <torch/nn.h>

#include <algorithm>
#include <cmath>

#include "../shared/blocks.h"
#include "kd/plugin.h"

namespace {

constexpr std::int64_t kSmallestDepth = 8;
constexpr std::int64_t kLargestDepth = 110;
constexpr int kStages = 3;

std::string width_name(std::size_t index) {
  std::string name = "width";
  name += std::to_string(index + 1);
  return name;
}

/// The channels of a layer at a share of its width.
std::int64_t narrow_channels(std::int64_t channels, double share) {
  return std::max<std::int64_t>(1, std::llround(static_cast<double>(channels) * share));
}

/// A convolution without bias and a batch norm for each width, registered as `convolution` and, of the widest,
/// `normalization`; of the others with "_width1" and so on behind.
class SlimmableConvolution final {
 public:
  SlimmableConvolution(torch::nn::Module& parent, const std::string& convolution, const std::string& normalization,
                       std::int64_t in, std::int64_t out, const blocks::Window& window,
                       const std::vector<double>& widths)
      : convolution_(parent.register_module(convolution, blocks::make_convolution(in, out, window))),
        stride_(window.stride),
        padding_(window.size / 2) {
    for (std::size_t i = 0; i < widths.size(); ++i) {
      std::string name = normalization;
      if (i + 1 < widths.size()) name.append("_").append(width_name(i));
      norms_.push_back(parent.register_module(name, torch::nn::BatchNorm2d(narrow_channels(out, widths[i]))));
    }
  }

  /// Of as many channels as `x` has, to those of the width.
  at::Tensor forward(const at::Tensor& x, std::size_t width) {
    const at::Tensor weight =
        convolution_->weight.narrow(0, 0, norms_[width]->options.num_features()).narrow(1, 0, x.size(1));
    return norms_[width]->forward(at::conv2d(x, weight, {}, stride_, padding_));
  }

 private:
  torch::nn::Conv2d convolution_;
  std::vector<torch::nn::BatchNorm2d> norms_;
  std::int64_t stride_, padding_;
};

class Block final : public torch::nn::Module {
 public:
  Block(std::int64_t in, std::int64_t out, std::int64_t stride, const std::vector<double>& widths)
      : first_(*this, "conv1", "bn1", in, out, {.size = 3, .stride = stride}, widths),
        second_(*this, "conv2", "bn2", out, out, {.size = 3}, widths) {
    if (stride == 1 && in == out) return;
    const auto projection = register_module("downsample", std::make_shared<torch::nn::Module>("Projection"));
    projection_ = std::make_unique<SlimmableConvolution>(*projection, "0", "1", in, out,
                                                         blocks::Window{.stride = stride}, widths);
  }

  at::Tensor forward(const at::Tensor& x, std::size_t width, kd::Taps& taps, const std::string& name) {
    const at::Tensor y = second_.forward(first_.forward(x, width).relu_(), width);
    return blocks::activate(y.add_(projection_ ? projection_->forward(x, width) : x), taps, name);
  }

 private:
  SlimmableConvolution first_, second_;
  std::unique_ptr<SlimmableConvolution> projection_;
};

class SlimmableModule final : public torch::nn::Module {
 public:
  SlimmableModule(std::int64_t blocks, std::int64_t width, const std::vector<double>& widths,
                  const kd::Model::Context& context)
      : stem_(*this, "conv1", "bn1", context.channels, stem_width(width), {.size = 3}, widths) {
    std::int64_t in = stem_width(width);
    for (int i = 0; i < kStages; ++i) {
      const std::int64_t out = (16 << i) * width;
      const auto stage = register_module("layer" + std::to_string(i + 1), std::make_shared<torch::nn::Module>("Stage"));
      stages_.emplace_back();
      for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t stride = i > 0 && block == 0 ? 2 : 1;
        stages_.back().push_back(
            stage->register_module(std::to_string(block), std::make_shared<Block>(in, out, stride, widths)));
        in = out;
      }
    }
    fc_ = register_module("fc", torch::nn::Linear(in, context.classes));
    blocks::start_convolutions_normal(*this);
  }

  at::Tensor forward(const at::Tensor& images, std::size_t width, kd::Taps& taps) {
    at::Tensor x = stem_.forward(images, width).relu_();
    taps.offer("stem", x);
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      const std::string name = "stage" + std::to_string(i + 1);
      for (const auto& block : stages_[i])
        x = block->forward(x, width, taps, block == stages_[i].back() ? name + "_pre" : std::string());
      taps.offer(name, x);
    }
    const at::Tensor pooled = x.mean({2, 3});
    taps.offer("pooled", pooled);
    return classify(pooled);
  }

  at::Tensor classify(const at::Tensor& pooled) {
    return at::linear(pooled, fc_->weight.narrow(1, 0, pooled.size(1)), fc_->bias);
  }

 private:
  static std::int64_t stem_width(std::int64_t width) { return std::max<std::int64_t>(16, 8 * width); }

  SlimmableConvolution stem_;
  std::vector<std::vector<std::shared_ptr<Block>>> stages_;
  torch::nn::Linear fc_{nullptr};
};

class Slimmable final : public kd::Model {
 public:
  struct Params {
    std::int64_t depth = 20, width = 1, answers_at = 0;
    std::vector<double> widths;

    static void schema(kd::Schema<Params>& s) {
      s.field("depth", &Params::depth, "layers with weights, 6n + 2, as of \"resnet\"")
          .def(20)
          .range(static_cast<double>(kSmallestDepth), static_cast<double>(kLargestDepth));
      s.field("width", &Params::width, "factor of the channels of the widest network, as of \"resnet\"")
          .def(1)
          .at_least(1);
      s.field("widths", &Params::widths, "shares of the channels, rising to 1")
          .def(std::vector<double>{0.25, 0.5, 0.75, 1.0});
      s.field("answers_at", &Params::answers_at,
              "the width that the network answers at, from 1 for the narrowest; 0 is the widest")
          .def(0)
          .at_least(0);
    }
  };

  Slimmable(const Params& params, const Context& context) : params_(check(params)) {
    answering_ = static_cast<std::size_t>(params.answers_at > 0 ? params.answers_at : count()) - 1;
    module_ = std::make_shared<SlimmableModule>((params.depth - 2) / 6, params.width, params.widths, context);
  }

  /// Passes at other widths than the one that answers are made where their logits are wanted.
  at::Tensor forward(const at::Tensor& images, const kd::ForwardPass& pass) override {
    kd::Taps none;
    kd::Taps& taps = pass.taps != nullptr ? *pass.taps : none;
    const at::Tensor logits = module_->forward(images, answering_, taps);
    for (std::size_t i = 0; i < params_.widths.size(); ++i) {
      if (!taps.wants(width_name(i))) continue;
      taps.offer(width_name(i), i == answering_ ? logits : module_->forward(images, i, none));
    }
    taps.offer("logits", logits);
    return logits;
  }

  at::Tensor head(const at::Tensor& feature, const std::string& tap) override {
    if (tap == "pooled") return module_->classify(feature);
    if (tap == "stage" + std::to_string(kStages)) return module_->classify(feature.mean({2, 3}));
    return kd::Model::head(feature, tap);
  }

  std::vector<std::string> tap_names() const override {
    std::vector<std::string> names{"stem"};
    for (int stage = 1; stage <= kStages; ++stage) {
      const std::string name = "stage" + std::to_string(stage);
      names.insert(names.end(), {name + "_pre", name});
    }
    names.emplace_back("pooled");
    for (std::size_t i = 0; i < params_.widths.size(); ++i) names.push_back(width_name(i));
    names.emplace_back("logits");
    return names;
  }

  std::shared_ptr<torch::nn::Module> module() override { return module_; }
  bool convolutional() const override { return true; }
  bool recordable() const override { return true; }

 private:
  std::int64_t count() const { return static_cast<std::int64_t>(params_.widths.size()); }

  static const Params& check(const Params& params) {
    if ((params.depth - 2) % 6 != 0)
      throw kd::RecipeError("depth = " + std::to_string(params.depth) + " is not 6n + 2, such as 8, 14, 20, 32 or 56");
    const std::vector<double>& widths = params.widths;
    bool rising = !widths.empty() && widths.front() > 0 && widths.back() == 1;
    for (std::size_t i = 1; i < widths.size(); ++i) rising = rising && widths[i - 1] < widths[i];
    if (!rising) throw kd::RecipeError({}, "widths must rise from above 0 to 1", "such as [0.25, 0.5, 0.75, 1.0]");
    const auto count = static_cast<std::int64_t>(widths.size());
    if (params.answers_at <= count) return params;
    throw kd::RecipeError("answers_at = " + std::to_string(params.answers_at) + ": there are only " +
                          std::to_string(count) + " widths");
  }

  const Params params_;
  std::size_t answering_ = 0;
  std::shared_ptr<SlimmableModule> module_;
};

}  // namespace

KD_REGISTER(kd::Model, "slimmable", Slimmable,
            "CIFAR ResNet of several widths in one set of weights, each with batch norms of its own (Yu et al., 2019)")
