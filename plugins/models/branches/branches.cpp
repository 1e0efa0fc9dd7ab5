// A network with a common stem and several last parts, whose gated sum teaches each of them while they train: Lan, Zhu
// and Gong, "Knowledge Distillation by On-the-Fly Native Ensemble" (ONE), NeurIPS 2018, arXiv 1806.04606. The gate is a
// linear layer on the mean of the last common feature, batch norm, relu and softmax, as published. The first branch has
// the names of the network itself: `init = { stage = "one" }` of a plain network takes stem and first branch. See the
// loss "one".
//   model = { type = "branches", model = { type = "resnet", depth = 32 }, branches = 3, from = "stage2" }
#include <torch/nn.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "kd/model.h"
#include "kd/plugin.h"

namespace {

constexpr const char* kEnsemble = "ensemble";

enum class GateForm { kLearned, kMean };

using ModulePtr = std::shared_ptr<torch::nn::Module>;

/// What of `module` has parameters with a gradient: itself where these are all, a shell around such parts of it where
/// they are some, or null.
ModulePtr reached(const ModulePtr& module, const std::function<bool(const at::Tensor&)>& has_gradient) {
  const std::vector<at::Tensor> parameters = module->parameters();
  const auto count = std::count_if(parameters.begin(), parameters.end(), has_gradient);
  if (count == 0) return nullptr;
  if (count == std::ssize(parameters)) return module;
  const std::vector<at::Tensor> own = module->parameters(/*recurse=*/false);
  if (std::any_of(own.begin(), own.end(), has_gradient)) return module;
  const auto shell = std::make_shared<torch::nn::Module>(module->name());
  for (const auto& part : module->named_children()) {
    const bool plain = part.value()->parameters().empty();  // it may keep a state, and moves with the others
    if (const ModulePtr found = plain ? part.value() : reached(part.value(), has_gradient))
      shell->register_module(part.key(), found);
  }
  return shell;
}

/// The part of `model` behind its feature `from`, proven on two images: nothing where the model cannot be entered
/// there.
ModulePtr find_tail(kd::Model& model, const std::string& from, const kd::Model::Context& context) {
  const at::AutoGradMode with_gradient(true);
  torch::nn::Module& module = *model.module();
  const bool training = module.is_training();
  module.eval();  // so that batch norm learns nothing of these images
  const at::Tensor images = at::arange(2 * context.channels * context.height * context.width, at::kFloat)
                                .sin()
                                .view({2, context.channels, context.height, context.width});
  kd::Taps taps(kd::TapRequest{from});
  const at::Tensor expected = model.forward(images, {.taps = &taps, .key = {}});
  at::Tensor logits;
  try {
    logits = model.behind(taps.at(from).detach(), from);
  } catch (const kd::Error&) {
  }
  module.train(training);
  if (!logits.defined()) return nullptr;
  const at::Tensor scale = expected.abs().amax().clamp_min(1e-6);
  if (!(logits - expected).abs().amax().lt(scale * 1e-4).item<bool>()) return nullptr;
  const std::vector<at::Tensor> parameters = module.parameters();
  const auto gradients = torch::autograd::grad({logits.sum()}, parameters, {}, /*retain_graph=*/false,
                                               /*create_graph=*/false, /*allow_unused=*/true);
  return reached(model.module(), [&](const at::Tensor& parameter) {
    for (std::size_t i = 0; i < parameters.size(); ++i)
      if (parameters[i].is_same(parameter)) return gradients[i].defined();
    return false;
  });
}

/// The weight of each branch in each sample, N×branches, of the last common feature.
class Gate final : public torch::nn::Module {
 public:
  Gate(std::int64_t features, std::int64_t branches)
      : fc_(register_module("fc", torch::nn::Linear(features, branches))),
        bn_(register_module("bn", torch::nn::BatchNorm1d(branches))) {}

  at::Tensor forward(const at::Tensor& feature) {
    const at::Tensor pooled = feature.dim() > 2 ? feature.flatten(2).mean(2) : feature;
    return at::softmax(at::relu(normalize(fc_->forward(pooled).to(bn_->weight.scalar_type()))), 1);
  }

 private:
  at::Tensor normalize(const at::Tensor& x) {
    if (!is_training() || x.size(0) > 1) return bn_->forward(x);
    // One sample has no variance.
    return at::batch_norm(x, bn_->weight, bn_->bias, bn_->running_mean, bn_->running_var, false, 0, bn_->options.eps(),
                          false);
  }

  torch::nn::Linear fc_;
  torch::nn::BatchNorm1d bn_;
};

class Branches final : public kd::Model {
 public:
  struct Params {
    kd::ComponentSpec model;
    std::int64_t branches = 3;
    std::string from, answers;
    GateForm gate = GateForm::kLearned;

    static void schema(kd::Schema<Params>& s) {
      s.component("model", &Params::model, "model", "the network of which each branch is one")
          .def_toml("{ type = \"resnet\" }");
      s.field("branches", &Params::branches, "how many last parts there are; the paper has 3").def(3).range(2, 64);
      s.field("from", &Params::from,
              "the last common feature: one behind which the network can be entered, as most can behind \"stem\", each "
              "stage and \"pooled\"")
          .def("stage2");
      s.field("answers", &Params::answers,
              "which logits the network answers with: \"ensemble\", the gated sum, or \"branch1\", \"branch2\", …")
          .def(kEnsemble);
      s.choice("gate", &Params::gate, {{"learned", GateForm::kLearned}, {"mean", GateForm::kMean}},
               "weights of the branches that follow from the image, or the same for all")
          .def("learned");
    }
  };

  Branches(const Params& params, const Context& context) : params_(params) {
    for (std::int64_t b = 0; b < params.branches; ++b) models_.push_back(kd::make<kd::Model>(params.model, context));
    const std::vector<std::string> offered = models_.front()->tap_names();
    const auto from = std::find(offered.begin(), offered.end(), params.from);
    if (from == offered.end()) {
      throw kd::RecipeError(params.model.location, params.model.type + " has no feature '" + params.from + "'",
                            kd::name_hint(params.from, offered, "it offers"));
    }
    shared_.assign(offered.begin(), from + 1);
    std::vector<ModulePtr> tails;
    for (const auto& model : models_) {
      tails.push_back(find_tail(*model, params.from, context));
      if (tails.back()) continue;
      throw kd::RecipeError(params.model.location,
                            params.model.type + " cannot be branched behind '" + params.from + "'",
                            "most networks without dropout can behind \"stem\", each stage and \"pooled\"");
    }
    answering_ = read_answers();
    module_ = models_.front()->module();
    for (std::size_t b = 1; b < tails.size(); ++b) module_->register_module(tap_of(b), tails[b]);
    if (params.gate == GateForm::kMean) return;
    gate_ = module_->register_module("gate", std::make_shared<Gate>(count_features(context), params.branches));
  }

  at::Tensor forward(const at::Tensor& images, const kd::ForwardPass& pass) override {
    kd::Taps none;
    kd::Taps& taps = pass.taps != nullptr ? *pass.taps : none;
    kd::TapRequest wanted{params_.from};
    for (const std::string& name : shared_) {
      if (name != params_.from && taps.wants(name)) wanted.push_back(name);
    }
    kd::Taps inside(wanted);
    std::vector<at::Tensor> logits(models_.size());
    logits.front() = models_.front()->forward(images, {.taps = &inside, .key = pass.key});
    for (const std::string& name : wanted) taps.offer(name, inside.at(name));
    const at::Tensor& feature = inside.at(params_.from);

    const bool together = answering_ == models_.size() || taps.wants(kEnsemble);
    for (std::size_t b = 0; b < models_.size(); ++b) {
      if (b > 0 && (together || b == answering_ || taps.wants(tap_of(b))))
        logits[b] = models_[b]->behind(feature, params_.from);
      if (logits[b].defined()) taps.offer(tap_of(b), logits[b]);
    }
    const at::Tensor ensemble = together ? sum(feature, logits) : at::Tensor();
    if (together) taps.offer(kEnsemble, ensemble);
    const at::Tensor& answer = answering_ == models_.size() ? ensemble : logits[answering_];
    taps.offer("logits", answer);
    return answer;
  }

  std::vector<std::string> tap_names() const override {
    std::vector<std::string> names = shared_;
    for (std::size_t b = 0; b < models_.size(); ++b) names.push_back(tap_of(b));
    names.insert(names.end(), {kEnsemble, "logits"});
    return names;
  }

  std::shared_ptr<torch::nn::Module> module() override { return module_; }
  bool convolutional() const override { return models_.front()->convolutional(); }
  bool recordable() const override { return models_.front()->recordable(); }

 private:
  static std::string tap_of(std::size_t branch) {
    std::string name = "branch";
    name += std::to_string(branch + 1);
    return name;
  }

  at::Tensor sum(const at::Tensor& feature, const std::vector<at::Tensor>& logits) const {
    const at::Tensor each = at::stack(logits, 1);
    return gate_ ? (each * gate_->forward(feature).unsqueeze(2)).sum(1) : each.mean(1);
  }

  /// The branch that answers, or the number of branches where all do.
  std::size_t read_answers() const {
    std::vector<std::string> known;
    for (std::size_t b = 0; b < models_.size(); ++b) known.push_back(tap_of(b));
    known.emplace_back(kEnsemble);
    const auto found = std::find(known.begin(), known.end(), params_.answers);
    if (found == known.end()) {
      throw kd::RecipeError({}, "answers = \"" + params_.answers + "\" is no branch",
                            kd::name_hint(params_.answers, known, "there are"));
    }
    return static_cast<std::size_t>(found - known.begin());
  }

  std::int64_t count_features(const Context& context) {
    const at::NoGradGuard no_gradient;
    kd::Taps taps(kd::TapRequest{params_.from});
    const bool training = module_->is_training();
    module_->eval();  // so that batch norm learns nothing of the zeros
    models_.front()->forward(at::zeros({1, context.channels, context.height, context.width}),
                             {.taps = &taps, .key = {}});
    module_->train(training);
    return taps.at(params_.from).size(1);
  }

  const Params params_;
  std::vector<std::unique_ptr<kd::Model>> models_;  ///< of all but the first the tails alone are used
  std::vector<std::string> shared_;
  std::size_t answering_ = 0;
  std::shared_ptr<torch::nn::Module> module_;
  std::shared_ptr<Gate> gate_;
};

}  // namespace

KD_REGISTER(kd::Model, "branches", Branches,
            "a common stem, several last parts of a network and a gate between them (Lan et al., 2018): for the loss "
            "\"one\"")
