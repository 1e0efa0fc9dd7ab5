// What the convolutional networks share: convolutions with batch norm, stages, taps, and the kd::Model around them.
#pragma once

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/nn.h>

#include <memory>
#include <string>
#include <vector>

#include "kd/model.h"

namespace blocks {

/// What a convolution does besides mixing channels; the padding keeps the size of the image but for the stride.
struct Window {
  std::int64_t size = 1, stride = 1, groups = 1;
};

inline torch::nn::Conv2d make_convolution(std::int64_t in, std::int64_t out, const Window& window) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, window.size)
                               .stride(window.stride)
                               .padding(window.size / 2)
                               .groups(window.groups)
                               .bias(false));
}

/// A convolution without bias and its batch norm, registered in `parent` as conv<number> and bn<number>.
class NormalizedConvolution final {
 public:
  NormalizedConvolution(torch::nn::Module& parent, std::size_t number, std::int64_t in, std::int64_t out,
                        const Window& window)
      : convolution_(parent.register_module("conv" + std::to_string(number), make_convolution(in, out, window))),
        normalization_(parent.register_module("bn" + std::to_string(number), torch::nn::BatchNorm2d(out))),
        strided_depthwise_(window.groups == in && window.stride > 1) {}

  at::Tensor forward(const at::Tensor& x) { return normalization_->forward(convolve(x)); }

 private:
  at::Tensor convolve(const at::Tensor& x) {
    // The gradient of a depthwise convolution with a stride takes 5 to 50 times as long in bf16 as in fp32 on the CPU
    // (LibTorch 2.13): half the step of a ShuffleNet.
    if (!strided_depthwise_ || !x.is_cpu() || x.scalar_type() != at::kBFloat16 || !x.requires_grad())
      return convolution_->forward(x);
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    return convolution_->forward(x.to(at::kFloat)).to(at::kBFloat16);
  }

  torch::nn::Conv2d convolution_;
  torch::nn::BatchNorm2d normalization_;
  bool strided_depthwise_;
};

/// Starts every convolution normal with deviation sqrt(2 / (height · width · outputs)) and bias 0: He et al., "Delving
/// Deep into Rectifiers", ICCV 2015, arXiv 1502.01852, over the outputs.
inline void start_convolutions_normal(torch::nn::Module& network) {
  for (const auto& part : network.modules(/*include_self=*/false)) {
    const auto* convolution = part->as<torch::nn::Conv2d>();
    if (convolution == nullptr) continue;
    torch::nn::init::kaiming_normal_(convolution->weight, 0, torch::kFanOut, torch::kReLU);
    if (convolution->bias.defined()) torch::nn::init::zeros_(convolution->bias);
  }
}

/// relu(x), in the memory of `x` unless that is wanted as the feature `name`.
inline at::Tensor activate(at::Tensor x, kd::Taps& taps, const std::string& name = {}) {
  if (!taps.wants(name)) return x.relu_();
  taps.offer(name, x);
  return at::relu(x);
}

/// Blocks in a row, registered as 0, 1, … as in Python's Sequential. A block's forward(x, taps, name) offers what it
/// has before its last activation as `name`.
template <class Block>
class Stage final : public torch::nn::Module {
 public:
  template <class... Arguments>
  void append(const Arguments&... arguments) {
    blocks_.push_back(register_module(std::to_string(blocks_.size()), std::make_shared<Block>(arguments...)));
  }

  /// Offers its output as `name`; a stage without a name offers nothing.
  at::Tensor forward(at::Tensor x, kd::Taps& taps, const std::string& name = {}) {
    for (const auto& block : blocks_) {
      const bool last = block == blocks_.back() && !name.empty();
      x = block->forward(x, taps, last ? name + "_pre" : std::string());
    }
    taps.offer(name, x);
    return x;
  }
  std::size_t size() const { return blocks_.size(); }

 private:
  std::vector<std::shared_ptr<Block>> blocks_;
};

/// "stem" before the first stage, and then "stage1", …
inline std::string stage_name(std::size_t stage) { return stage == 0 ? "stem" : "stage" + std::to_string(stage); }

/// The stages behind the first `done` ones in turn.
template <class Stage>
at::Tensor run_stages(at::Tensor x, const std::vector<std::shared_ptr<Stage>>& stages, std::size_t done,
                      kd::Taps& taps) {
  for (std::size_t i = done; i < stages.size(); ++i) x = stages[i]->forward(x, taps, stage_name(i + 1));
  return x;
}

/// The mean over the image and the classifier's answer to it, as "pooled" and "logits".
inline at::Tensor classify(const at::Tensor& x, torch::nn::Linear& classifier, kd::Taps& taps) {
  // Losses ask for the answer at one place too, of thousands of them.
  const at::Tensor pooled = x.size(2) * x.size(3) == 1 ? x.flatten(1) : x.mean({2, 3});
  taps.offer("pooled", pooled);
  const at::Tensor logits = classifier->forward(pooled);
  taps.offer("logits", logits);
  return logits;
}

/// The model of a module with a stem, `stages` stages, "pooled" and "logits": with stem(images), behind(map, done,
/// taps, key) from the map of so many stages, 0 of the stem alone, to logits, and a classifier(). With
/// batch_norm_of(stage), the path of the batch norm that "stage…_pre" comes out of, it tells losses of it.
template <class Module>
class Network : public kd::Model {
 public:
  Network(std::shared_ptr<Module> module, std::size_t stages) : module_(std::move(module)), stages_(stages) {}

  at::Tensor forward(const at::Tensor& images, const kd::ForwardPass& pass) override {
    kd::Taps none;
    kd::Taps& taps = pass.taps != nullptr ? *pass.taps : none;
    const at::Tensor stem = module_->stem(images, taps);
    taps.offer("stem", stem);
    return module_->behind(stem, 0, taps, pass.key);
  }

  at::Tensor head(const at::Tensor& feature, const std::string& tap) override {
    kd::Taps none;
    if (tap == "pooled") return module_->classifier()->forward(feature);
    if (tap == stage_name(stages_)) return module_->behind(feature, stages_, none, {});
    return kd::Model::head(feature, tap);
  }

  at::Tensor behind(const at::Tensor& feature, const std::string& tap) override {
    kd::Taps none;
    // What a stage drops at random follows from the key of a pass, which there is none of here.
    for (std::size_t done = recordable() ? 0 : stages_; done < stages_; ++done) {
      if (tap == stage_name(done)) return module_->behind(feature, done, none, {});
    }
    return head(feature, tap);
  }

  kd::BatchNormAffine batch_norm(const std::string& tap) override {
    if constexpr (requires { module_->batch_norm_of(1); }) {
      for (std::size_t stage = 1; stage <= stages_; ++stage) {
        if (tap != stage_name(stage) + "_pre") continue;
        const auto parameters = module_->named_parameters();
        const std::string path = module_->batch_norm_of(stage);
        return {parameters[path + ".weight"].detach(), parameters[path + ".bias"].detach()};
      }
    }
    return kd::Model::batch_norm(tap);
  }

  std::vector<std::string> tap_names() const override {
    std::vector<std::string> names{"stem"};
    for (std::size_t stage = 1; stage <= stages_; ++stage)
      names.insert(names.end(), {stage_name(stage) + "_pre", stage_name(stage)});
    names.insert(names.end(), {"pooled", "logits"});
    return names;
  }

  std::shared_ptr<torch::nn::Module> module() override { return module_; }
  bool convolutional() const override { return true; }
  bool recordable() const override { return true; }

 private:
  std::shared_ptr<Module> module_;
  std::size_t stages_;
};

}  // namespace blocks
