// A multi-layer perceptron on flattened images.
//   model = { type = "mlp", hidden = [512, 256], dropout = 0.3 }
#include <torch/nn.h>

#include "kd/model.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"

namespace {

enum class Activation { kRelu, kTanh, kGelu };

class MlpModule final : public torch::nn::Module {
 public:
  explicit MlpModule(const std::vector<std::int64_t>& sizes) {
    for (std::size_t i = 0; i + 1 < sizes.size(); ++i) {
      layers.push_back(register_module("fc" + std::to_string(i + 1), torch::nn::Linear(sizes[i], sizes[i + 1])));
    }
  }

  std::vector<torch::nn::Linear> layers;
};

class Mlp final : public kd::Model {
 public:
  struct Params {
    std::vector<std::int64_t> hidden;
    Activation activation = Activation::kRelu;
    double dropout = 0;

    static void schema(kd::Schema<Params>& s) {
      s.field("hidden", &Params::hidden, "sizes of the hidden layers; [] is a linear classifier")
          .def(std::vector<std::int64_t>{});
      s.choice("activation", &Params::activation,
               {{"relu", Activation::kRelu}, {"tanh", Activation::kTanh}, {"gelu", Activation::kGelu}},
               "after every hidden layer")
          .def("relu");
      s.field("dropout", &Params::dropout, "probability that a hidden unit is dropped in training")
          .def(0.0)
          .at_least(0)
          .below(1);
    }
  };

  Mlp(const Params& params, const Context& context) : params_(params) {
    std::vector<std::int64_t> sizes{context.channels * context.height * context.width};
    sizes.insert(sizes.end(), params.hidden.begin(), params.hidden.end());
    sizes.push_back(context.classes);
    module_ = std::make_shared<MlpModule>(sizes);
  }

  bool recordable() const override { return params_.dropout == 0; }

  at::Tensor forward(const at::Tensor& images, const kd::ForwardPass& pass) override {
    at::Tensor x = images.flatten(1);
    for (std::size_t i = 0; i + 1 < module_->layers.size(); ++i) {
      x = module_->layers[i]->forward(x);
      const std::string name = "hidden" + std::to_string(i + 1);
      if (pass.taps != nullptr) pass.taps->offer(name + "_pre", x);
      x = activate(x);
      if (module_->is_training()) x = kd::dropout(x, params_.dropout, pass.key.with(i));
      if (pass.taps != nullptr) pass.taps->offer(name, x);
    }
    if (pass.taps != nullptr) pass.taps->offer("pooled", x);
    x = module_->layers.back()->forward(x);
    if (pass.taps != nullptr) pass.taps->offer("logits", x);
    return x;
  }

  at::Tensor head(const at::Tensor& feature, const std::string& tap) override {
    return tap == "pooled" ? module_->layers.back()->forward(feature) : kd::Model::head(feature, tap);
  }

  std::vector<std::string> tap_names() const override {
    std::vector<std::string> names;
    for (std::size_t i = 1; i < module_->layers.size(); ++i) {
      names.push_back("hidden" + std::to_string(i) + "_pre");
      names.push_back("hidden" + std::to_string(i));
    }
    names.insert(names.end(), {"pooled", "logits"});
    return names;
  }

  std::shared_ptr<torch::nn::Module> module() override { return module_; }

 private:
  at::Tensor activate(const at::Tensor& x) const {
    switch (params_.activation) {
      case Activation::kTanh:
        return at::tanh(x);
      case Activation::kGelu:
        return at::gelu(x);
      case Activation::kRelu:
        break;
    }
    return at::relu(x);
  }

  const Params params_;
  std::shared_ptr<MlpModule> module_;
};

}  // namespace

KD_REGISTER(kd::Model, "mlp", Mlp, "multi-layer perceptron on flattened images")
