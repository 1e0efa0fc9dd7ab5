// The part of a network behind one of its features, to be used more than once: what the model "branches" is made of.
#pragma once

#include <torch/nn.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kd/model.h"
#include "kd/plugin.h"

namespace branches {

/// Logits of a feature, and the children of the network's module that they come from.
struct Tail {
  std::function<at::Tensor(const at::Tensor&)> logits;
  std::vector<std::pair<std::string, std::shared_ptr<torch::nn::Module>>> parts;
};

using Step = std::function<at::Tensor(const at::Tensor&)>;

/// The child of that name and class, or null.
template <class Impl>
std::shared_ptr<Impl> child(const torch::nn::Module& parent, const std::string& name) {
  const auto children = parent.named_children();
  const auto* found = children.find(name);
  return found == nullptr ? nullptr : std::dynamic_pointer_cast<Impl>(*found);
}

/// A residual block by the names of its parts: conv1, bn1, conv2, bn2 … and a "downsample" or "shortcut" where
/// activations come last (He et al., CVPR 2016), bn1, conv1, bn2, conv2 and "convShortcut" where they come first
/// (Zagoruyko and Komodakis, BMVC 2016). Null where it is neither.
inline Step read_block(const torch::nn::Module& block) {
  const auto children = block.named_children();
  std::vector<std::shared_ptr<torch::nn::Conv2dImpl>> convolutions;
  std::vector<std::shared_ptr<torch::nn::BatchNorm2dImpl>> norms;
  for (std::size_t i = 1; i <= children.size(); ++i) {
    const auto convolution = child<torch::nn::Conv2dImpl>(block, "conv" + std::to_string(i));
    const auto norm = child<torch::nn::BatchNorm2dImpl>(block, "bn" + std::to_string(i));
    if (!convolution || !norm) break;
    convolutions.push_back(convolution);
    norms.push_back(norm);
  }
  const std::size_t layers = convolutions.size();
  if (layers < 2) return {};
  if (children.front().key() == "bn1") {
    const auto shortcut = child<torch::nn::Conv2dImpl>(block, "convShortcut");
    if (children.size() != 2 * layers + (shortcut ? 1 : 0)) return {};
    return [=](const at::Tensor& x) {
      const at::Tensor activated = norms[0]->forward(x).relu_();
      at::Tensor y = convolutions[0]->forward(activated);
      for (std::size_t i = 1; i < layers; ++i) y = convolutions[i]->forward(norms[i]->forward(y).relu_());
      return y.add_(shortcut ? shortcut->forward(activated) : x);
    };
  }
  auto shortcut = child<torch::nn::SequentialImpl>(block, "downsample");
  if (!shortcut) shortcut = child<torch::nn::SequentialImpl>(block, "shortcut");
  if (children.size() != 2 * layers + (shortcut ? 1 : 0)) return {};
  return [=](const at::Tensor& x) {
    at::Tensor y = norms[0]->forward(convolutions[0]->forward(x));
    for (std::size_t i = 1; i < layers; ++i) y = norms[i]->forward(convolutions[i]->forward(y.relu_()));
    return y.add_(shortcut ? shortcut->forward(x) : x).relu_();
  };
}

/// A child of a residual network: a last batch norm, the classifier of the mean over the image, or a stage of blocks,
/// which may stand in a list of their own. Null where it is none of these.
inline Step read_part(const std::shared_ptr<torch::nn::Module>& part) {
  if (const auto norm = std::dynamic_pointer_cast<torch::nn::BatchNorm2dImpl>(part)) {
    return [norm](const at::Tensor& x) { return norm->forward(x).relu_(); };
  }
  if (const auto classifier = std::dynamic_pointer_cast<torch::nn::LinearImpl>(part)) {
    return [classifier](const at::Tensor& x) { return classifier->forward(x.mean({2, 3})); };
  }
  const auto children = part->children();
  if (children.size() == 1 && children.front()->as<torch::nn::ModuleList>() != nullptr)
    return read_part(children.front());
  std::vector<Step> blocks;
  for (const auto& block : children) {
    blocks.push_back(read_block(*block));
    if (!blocks.back()) return {};
  }
  if (blocks.empty()) return {};
  return [blocks](at::Tensor x) {
    for (const Step& block : blocks) x = block(x);
    return x;
  };
}

/// The tail of a residual network behind "stem", "stage1", …, read from the names of its parts: the stages are called
/// layer1, layer2, … or block1, block2, …
inline std::optional<Tail> read_tail(kd::Model& model, const std::string& from) {
  // What is dropped at random follows from the key of a pass, which a part by itself is not given.
  if (!model.recordable()) return std::nullopt;
  const std::string stage = "stage";
  std::string next = "1";
  if (from.starts_with(stage)) {
    const std::string number = from.substr(stage.size());
    if (number.empty() || number.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
    next = std::to_string(std::stoi(number) + 1);
  } else if (from != "stem") {
    return std::nullopt;
  }
  Tail tail;
  std::vector<Step> steps;
  for (const auto& part : model.module()->named_children()) {
    const bool begins = part.key() == "layer" + next || part.key() == "block" + next;
    if (!begins && tail.parts.empty()) continue;
    tail.parts.emplace_back(part.key(), part.value());
    steps.push_back(read_part(part.value()));
    if (!steps.back()) return std::nullopt;
  }
  if (steps.empty()) return std::nullopt;
  tail.logits = [steps](at::Tensor x) {
    for (const Step& step : steps) x = step(x);
    return x;
  };
  return tail;
}

/// The tail that the model itself offers, as its head for that feature. `model` must outlive it.
inline std::optional<Tail> take_head(kd::Model& model, const std::string& from, const at::Tensor& feature) {
  Tail tail{.logits = [&model, from](const at::Tensor& x) { return model.head(x, from); }, .parts = {}};
  at::Tensor logits;
  try {
    const at::AutoGradMode with_gradient(true);
    logits = tail.logits(feature);
  } catch (const kd::Error&) {
    return std::nullopt;
  }
  // Its parts are those that a gradient reaches.
  const at::AutoGradMode with_gradient(true);
  for (const auto& part : model.module()->named_children()) {
    const std::vector<at::Tensor> parameters = part.value()->parameters();
    if (parameters.empty()) continue;
    const auto gradients = torch::autograd::grad({logits.sum()}, parameters, {}, /*retain_graph=*/true,
                                                 /*create_graph=*/false, /*allow_unused=*/true);
    if (std::any_of(gradients.begin(), gradients.end(), [](const at::Tensor& g) { return g.defined(); }))
      tail.parts.emplace_back(part.key(), part.value());
  }
  return tail;
}

/// What `model` does behind its feature `from`, proven on two images: none where neither the model nor the names of its
/// parts say so.
inline std::optional<Tail> find_tail(kd::Model& model, const std::string& from, const kd::Model::Context& context) {
  const at::NoGradGuard no_gradient;
  torch::nn::Module& module = *model.module();
  const bool training = module.is_training();
  module.eval();  // so that batch norm learns nothing of these images
  const at::Tensor images = at::arange(2 * context.channels * context.height * context.width, at::kFloat)
                                .sin()
                                .view({2, context.channels, context.height, context.width});
  kd::Taps taps(kd::TapRequest{from});
  const at::Tensor expected = model.forward(images, {.taps = &taps, .key = {}});
  std::optional<Tail> found;
  for (std::optional<Tail> tail : {take_head(model, from, taps.at(from)), read_tail(model, from)}) {
    if (found || !tail) continue;
    const at::Tensor logits = tail->logits(taps.at(from));
    const at::Tensor scale = expected.abs().amax().clamp_min(1e-6);
    if ((logits - expected).abs().amax().lt(scale * 1e-4).item<bool>()) found = std::move(tail);
  }
  module.train(training);
  return found;
}

}  // namespace branches
