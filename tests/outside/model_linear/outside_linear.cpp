// A model built outside kdrun's tree: a linear classifier.
#include <torch/nn/modules/linear.h>

#include "kd/model.h"
#include "kd/plugin.h"

namespace {

class OutsideLinear final : public kd::Model {
 public:
  struct Params {
    bool bias = true;

    static void schema(kd::Schema<Params>& s) {
      s.field("bias", &Params::bias, "whether each class has an offset").def(true);
    }
  };

  OutsideLinear(const Params& params, const Context& context)
      : linear_(torch::nn::LinearOptions(context.channels * context.height * context.width, context.classes)
                    .bias(params.bias)) {}

  at::Tensor forward(const at::Tensor& images, const kd::ForwardPass& pass) override {
    const at::Tensor logits = linear_->forward(images.flatten(1));
    if (pass.taps != nullptr) pass.taps->offer("logits", logits);
    return logits;
  }

  std::vector<std::string> tap_names() const override { return {"logits"}; }

  std::shared_ptr<torch::nn::Module> module() override { return linear_.ptr(); }

 private:
  torch::nn::Linear linear_;
};

}  // namespace

KD_REGISTER(kd::Model, "outside_linear", OutsideLinear, "linear classifier")
