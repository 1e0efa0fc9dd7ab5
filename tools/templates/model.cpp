// The model "KD_NAME_HERE": a network with one hidden layer on flattened images.
// Say here what yours is, and cite the paper that it comes from.
#include "kd/model.h"

#include <torch/nn.h>

#include "kd/plugin.h"

namespace {

// The layers, as in any program that uses LibTorch.
class KdClassHereModule final : public torch::nn::Module {
 public:
  KdClassHereModule(std::int64_t inputs, std::int64_t hidden, std::int64_t classes)
      : fc1(register_module("fc1", torch::nn::Linear(inputs, hidden))),
        fc2(register_module("fc2", torch::nn::Linear(hidden, classes))) {}

  torch::nn::Linear fc1, fc2;
};

class KdClassHere final : public kd::Model {
 public:
  // What recipes can set. Every parameter has its meaning, and a default unless the recipe must give it.
  struct Params {
    std::int64_t hidden = 32;

    static void schema(kd::Schema<Params>& s) {
      s.field("hidden", &Params::hidden, "count of hidden units").def(32).at_least(1);
    }
  };

  KdClassHere(const Params& params, const Context& context)
      : module_(std::make_shared<KdClassHereModule>(context.channels * context.height * context.width, params.hidden,
                                                    context.classes)) {}

  // Offer every feature that a loss may ask for; only what was asked for is kept.
  at::Tensor forward(const at::Tensor& images, const kd::ForwardPass& pass) override {
    const at::Tensor hidden = module_->fc1->forward(images.flatten(1)).relu();
    const at::Tensor logits = module_->fc2->forward(hidden);
    if (pass.taps != nullptr) {
      pass.taps->offer("pooled", hidden);
      pass.taps->offer("logits", logits);
    }
    return logits;
  }

  std::vector<std::string> tap_names() const override { return {"pooled", "logits"}; }

  // Logits from one of the last features, for losses that send other features through the classifier.
  at::Tensor head(const at::Tensor& feature, const std::string& tap) override {
    return tap == "pooled" ? module_->fc2->forward(feature) : kd::Model::head(feature, tap);
  }

  std::shared_ptr<torch::nn::Module> module() override { return module_; }

 private:
  std::shared_ptr<KdClassHereModule> module_;
};

}  // namespace

// Recipes find the class under this name: model = { type = "KD_NAME_HERE", hidden = 64 }.
KD_REGISTER(kd::Model, "KD_NAME_HERE", KdClassHere, "one hidden layer")
