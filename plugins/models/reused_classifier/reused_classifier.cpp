// A student that answers with its teacher's classifier: Chen, Mei, Zhang, Wang, Feng and Chen, "Knowledge Distillation
// with the Reused Teacher Classifier", CVPR 2022, arXiv 2203.14001. A backbone's last map goes through a projector,
// 1×1, 3×3 and 1×1 convolutions, each with batch norm and activation, to the teacher's channels; its mean over the
// image is classified. With `init = { stage = "teacher", parts = ["fc"] }` and `freeze = ["fc"]` the classifier is the
// teacher's. See the loss "simkd".
//   model = { type = "reused_classifier", backbone = { type = "resnet", depth = 8, width = 4 }, channels = 256 }
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <torch/nn.h>

#include <algorithm>

#include "../shared/blocks.h"
#include "kd/plugin.h"

namespace {

class ReusedClassifierModel final : public kd::Model {
 public:
  struct Params {
    kd::ComponentSpec backbone;
    std::string tap, classifier;
    std::int64_t channels = 64, factor = 2, size = 0;

    static void schema(kd::Schema<Params>& s) {
      s.component("backbone", &Params::backbone, "model", "the network that gives the map")
          .def_toml("{ type = \"resnet\" }");
      s.field("tap", &Params::tap, "its last map").def("stage3");
      s.field("channels", &Params::channels,
              "of the teacher's last map: 64 of resnet56, 256 of resnet32x4, 128 of wrn_40_2")
          .def(64)
          .at_least(1);
      s.field("factor", &Params::factor, "the projector's inner convolutions have so many times fewer channels")
          .def(2)
          .at_least(1);
      s.field("size", &Params::size,
              "height and width of the teacher's last map, which a larger map is averaged to; 0 leaves it as it is")
          .def(0)
          .at_least(0);
      s.field(
           "classifier", &Params::classifier,
           "the name of the teacher's classifier among its parts: \"fc\" of ResNets and wide ResNets, \"classifier\" "
           "of VGG, \"linear\" of resnet50 and ShuffleNets")
          .def("fc");
    }
  };

  ReusedClassifierModel(const Params& params, const Context& context)
      : params_(params), backbone_(kd::make<kd::Model>(params.backbone, context)) {
    const std::vector<std::string> offered = backbone_->tap_names();
    if (std::find(offered.begin(), offered.end(), params.tap) == offered.end())
      throw kd::RecipeError({}, "the backbone has no feature '" + params.tap + "'",
                            kd::name_hint(params.tap, offered, "it offers"));
    const std::int64_t in = map_of(context).size(1);
    const std::int64_t inner = std::max<std::int64_t>(1, params.channels / params.factor);
    module_ = std::make_shared<torch::nn::Module>("ReusedClassifier");
    module_->register_module("backbone", backbone_->module());
    transfer_ = module_->register_module("transfer", torch::nn::Sequential());
    const auto add = [&](std::int64_t from, std::int64_t to, std::int64_t size) {
      transfer_->push_back(blocks::make_convolution(from, to, {.size = size}));
      transfer_->push_back(torch::nn::BatchNorm2d(to));
      transfer_->push_back(torch::nn::ReLU(torch::nn::ReLUOptions(/*inplace=*/true)));
    };
    add(in, inner, 1);
    add(inner, inner, 3);
    add(inner, params.channels, 1);
    classifier_ = module_->register_module(params.classifier, torch::nn::Linear(params.channels, context.classes));
  }

  at::Tensor forward(const at::Tensor& images, const kd::ForwardPass& pass) override {
    kd::Taps none;
    kd::Taps& taps = pass.taps != nullptr ? *pass.taps : none;
    kd::TapRequest wanted{params_.tap};
    for (const std::string& name : backbone_taps()) {
      if (name != params_.tap && taps.wants(name)) wanted.push_back(name);
    }
    kd::Taps inside(wanted);
    backbone_->forward(images, {.taps = &inside, .key = pass.key});
    for (const std::string& name : wanted) taps.offer(name, inside.at(name));
    at::Tensor map = inside.at(params_.tap);
    if (params_.size > 0 && map.size(2) > params_.size)
      map = at::adaptive_avg_pool2d(map, {params_.size, params_.size});
    const at::Tensor transferred = transfer_->forward(map);
    taps.offer("transferred", transferred);
    return blocks::classify(transferred, classifier_, taps);
  }

  at::Tensor head(const at::Tensor& feature, const std::string& tap) override {
    kd::Taps none;
    if (tap == "pooled") return classifier_->forward(feature);
    if (tap == "transferred") return blocks::classify(feature, classifier_, none);
    return kd::Model::head(feature, tap);
  }

  std::vector<std::string> tap_names() const override {
    std::vector<std::string> names = backbone_taps();
    names.insert(names.end(), {"transferred", "pooled", "logits"});
    return names;
  }

  std::shared_ptr<torch::nn::Module> module() override { return module_; }
  bool convolutional() const override { return true; }
  bool recordable() const override { return backbone_->recordable(); }

 private:
  /// Those of the backbone but for what this network answers itself.
  std::vector<std::string> backbone_taps() const {
    std::vector<std::string> names;
    for (const std::string& name : backbone_->tap_names()) {
      if (name != "pooled" && name != "logits") names.push_back(name);
    }
    return names;
  }

  at::Tensor map_of(const Context& context) {
    const torch::NoGradGuard no_gradient;
    kd::Taps taps(kd::TapRequest{params_.tap});
    const bool training = backbone_->module()->is_training();
    backbone_->module()->eval();  // so that batch norm learns nothing of the zeros
    backbone_->forward(at::zeros({1, context.channels, context.height, context.width}), {.taps = &taps, .key = {}});
    backbone_->module()->train(training);
    const at::Tensor map = taps.at(params_.tap);
    if (map.dim() != 4) throw kd::RecipeError("the backbone's feature '" + params_.tap + "' is no map");
    return map;
  }

  const Params params_;
  const std::unique_ptr<kd::Model> backbone_;
  std::shared_ptr<torch::nn::Module> module_;
  torch::nn::Sequential transfer_{nullptr};
  torch::nn::Linear classifier_{nullptr};
};

}  // namespace

KD_REGISTER(kd::Model, "reused_classifier", ReusedClassifierModel,
            "a backbone and a projector in front of a teacher's classifier (Chen et al., 2022): the student of SimKD")
