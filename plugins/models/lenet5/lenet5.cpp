// LeNet-5 of LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE
// 86, 1998, in the form that is common today: dense second convolution, plain pooling, softmax in place of the RBF
// output.
//   model = { type = "lenet5", activation = "relu", pooling = "max" }
#include <torch/nn.h>

#include "kd/model.h"
#include "kd/plugin.h"

namespace {

enum class Activation { kRelu, kTanh };
enum class Pooling { kMax, kAverage };

constexpr std::int64_t kKernel = 5;
constexpr std::int64_t kUnpaddedSize = 32;  // the paper's images: MNIST with a border of two pixels
constexpr std::int64_t kSmallestSize = 12;

std::int64_t choose_padding(std::int64_t size) { return size < kUnpaddedSize ? 2 : 0; }

/// What two convolutions, each with a pooling by two, leave of a side of `size` pixels.
std::int64_t reduce_size(std::int64_t size) {
  const std::int64_t first = (size + 2 * choose_padding(size) - kKernel + 1) / 2;
  return (first - kKernel + 1) / 2;
}

class LeNet5Module final : public torch::nn::Module {
 public:
  explicit LeNet5Module(const kd::Model::Context& context) {
    const auto first = torch::nn::Conv2dOptions(context.channels, 6, kKernel)
                           .padding({choose_padding(context.height), choose_padding(context.width)});
    conv1 = register_module("conv1", torch::nn::Conv2d(first));
    conv2 = register_module("conv2", torch::nn::Conv2d(6, 16, kKernel));
    const std::int64_t features = 16 * reduce_size(context.height) * reduce_size(context.width);
    fc1 = register_module("fc1", torch::nn::Linear(features, 120));
    fc2 = register_module("fc2", torch::nn::Linear(120, 84));
    fc3 = register_module("fc3", torch::nn::Linear(84, context.classes));
  }

  torch::nn::Conv2d conv1{nullptr}, conv2{nullptr};
  torch::nn::Linear fc1{nullptr}, fc2{nullptr}, fc3{nullptr};
};

class LeNet5 final : public kd::Model {
 public:
  struct Params {
    Activation activation = Activation::kRelu;
    Pooling pooling = Pooling::kMax;

    static void schema(kd::Schema<Params>& s) {
      s.choice("activation", &Params::activation, {{"relu", Activation::kRelu}, {"tanh", Activation::kTanh}},
               "after each convolution and each hidden layer; the paper has a scaled tanh")
          .def("relu");
      s.choice("pooling", &Params::pooling, {{"max", Pooling::kMax}, {"average", Pooling::kAverage}},
               "over 2×2 pixels after each activation; the paper has trained averages")
          .def("max");
    }
  };

  LeNet5(const Params& params, const Context& context) : params_(params) {
    if (context.height < kSmallestSize || context.width < kSmallestSize) {
      throw kd::RecipeError("lenet5 needs images of at least 12x12 pixels; these are " +
                            std::to_string(context.height) + "x" + std::to_string(context.width));
    }
    module_ = std::make_shared<LeNet5Module>(context);
  }

  at::Tensor forward(const at::Tensor& images, const kd::ForwardPass& pass) override {
    at::Tensor x = pool(activate("stage1", module_->conv1->forward(images), pass));
    x = pool(activate("stage2", module_->conv2->forward(x), pass));
    x = activate("hidden", module_->fc1->forward(x.flatten(1)), pass);
    x = activate("pooled", module_->fc2->forward(x), pass);
    x = module_->fc3->forward(x);
    if (pass.taps != nullptr) pass.taps->offer("logits", x);
    return x;
  }

  at::Tensor head(const at::Tensor& feature, const std::string& tap) override {
    return tap == "pooled" ? module_->fc3->forward(feature) : kd::Model::head(feature, tap);
  }

  std::vector<std::string> tap_names() const override {
    return {"stage1_pre", "stage1", "stage2_pre", "stage2", "hidden_pre", "hidden", "pooled_pre", "pooled", "logits"};
  }

  std::shared_ptr<torch::nn::Module> module() override { return module_; }
  bool convolutional() const override { return true; }
  bool recordable() const override { return true; }

 private:
  at::Tensor activate(const std::string& name, const at::Tensor& x, const kd::ForwardPass& pass) const {
    const at::Tensor y = params_.activation == Activation::kTanh ? at::tanh(x) : at::relu(x);
    if (pass.taps != nullptr) {
      pass.taps->offer(name + "_pre", x);
      pass.taps->offer(name, y);
    }
    return y;
  }

  at::Tensor pool(const at::Tensor& x) const {
    return params_.pooling == Pooling::kAverage ? at::avg_pool2d(x, {2, 2}) : at::max_pool2d(x, {2, 2});
  }

  const Params params_;
  std::shared_ptr<LeNet5Module> module_;
};

}  // namespace

KD_REGISTER(kd::Model, "lenet5", LeNet5, "LeNet-5 (LeCun et al., 1998) in its common modern form")
