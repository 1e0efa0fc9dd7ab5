// Any network behind one modality of the images: their grey, their edges, a half of them, or some channels. Networks
// of a stage can so see different modalities of the same samples, teach each other, and be evaluated alone or together:
// the cross-modal experiment on mutual learning (Zhang et al., CVPR 2018, arXiv 1706.00384, name it as a use). A data
// set of several modalities, such as colour and depth, gives them as channels.
//   model = { type = "modality", sees = "edges", model = { type = "resnet" } }
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/replication_pad2d.h>
#include <torch/nn.h>

#include "kd/model.h"
#include "kd/plugin.h"

namespace {

enum class Modality { kGrey, kEdges, kLeft, kRight, kTop, kBottom, kChannels };

/// One channel: of three the luma of ITU-R BT.601, of others the mean. Normalised images stay in their units.
at::Tensor grey_of(const at::Tensor& images) {
  if (images.size(1) != 3) return images.mean(1, /*keepdim=*/true);
  return images.narrow(1, 0, 1) * 0.299 + images.narrow(1, 1, 1) * 0.587 + images.narrow(1, 2, 1) * 0.114;
}

/// Sums of three neighbours along a dimension, the middle one twice.
at::Tensor smoothed(const at::Tensor& images, std::int64_t dimension) {
  const std::int64_t size = images.size(dimension) - 2;
  return images.narrow(dimension, 0, size) + images.narrow(dimension, 1, size) * 2 + images.narrow(dimension, 2, size);
}

/// Differences of the neighbours of each place along a dimension.
at::Tensor slope(const at::Tensor& images, std::int64_t dimension) {
  const std::int64_t size = images.size(dimension) - 2;
  return images.narrow(dimension, 2, size) - images.narrow(dimension, 0, size);
}

/// Length of the gradient of the grey image by Sobel's operator over 8, in units for each pixel of way.
at::Tensor edges_of(const at::Tensor& images) {
  constexpr double kLeastSquare = 1e-12;  // a root has no slope at 0
  const at::Tensor grey = at::replication_pad2d(grey_of(images), {1, 1, 1, 1});
  const at::Tensor along = slope(smoothed(grey, 2), 3) / 8, down = slope(smoothed(grey, 3), 2) / 8;
  return (along.square() + down.square() + kLeastSquare).sqrt();
}

class ModalityModel final : public kd::Model {
 public:
  struct Params {
    kd::ComponentSpec model;
    Modality sees = Modality::kGrey;
    std::vector<std::int64_t> channels;

    static void schema(kd::Schema<Params>& s) {
      s.component("model", &Params::model, "model", "the network").def_toml("{ type = \"resnet\" }");
      s.choice(
           "sees", &Params::sees,
           {{"grey", Modality::kGrey},
            {"edges", Modality::kEdges},
            {"left", Modality::kLeft},
            {"right", Modality::kRight},
            {"top", Modality::kTop},
            {"bottom", Modality::kBottom},
            {"channels", Modality::kChannels}},
           "what it sees of an image: one grey channel; the strength of its edges; a half; or those of its channels "
           "that `channels` names")
          .def("grey");
      s.field("channels", &Params::channels, "with sees = \"channels\": their numbers, from 0")
          .def(std::vector<std::int64_t>{})
          .at_least(0);
    }
  };

  ModalityModel(const Params& params, const Context& context)
      : params_(params), model_(kd::make<kd::Model>(params.model, seen_of(context))) {}

  at::Tensor forward(const at::Tensor& images, const kd::ForwardPass& pass) override {
    return model_->forward(seen(images), pass);
  }
  std::vector<std::string> tap_names() const override { return model_->tap_names(); }
  at::Tensor head(const at::Tensor& feature, const std::string& tap) override { return model_->head(feature, tap); }
  kd::BatchNormAffine batch_norm(const std::string& tap) override { return model_->batch_norm(tap); }
  /// The network's own: its weights have the names that they have without a modality.
  std::shared_ptr<torch::nn::Module> module() override { return model_->module(); }
  bool recordable() const override { return model_->recordable(); }
  bool convolutional() const override { return model_->convolutional(); }

 private:
  Context seen_of(Context context) const {
    switch (params_.sees) {
      case Modality::kGrey:
      case Modality::kEdges:
        context.channels = 1;
        break;
      case Modality::kLeft:
        context.width /= 2;
        break;
      case Modality::kRight:
        context.width -= context.width / 2;
        break;
      case Modality::kTop:
        context.height /= 2;
        break;
      case Modality::kBottom:
        context.height -= context.height / 2;
        break;
      case Modality::kChannels:
        require_channels(context.channels);
        context.channels = static_cast<std::int64_t>(params_.channels.size());
        break;
    }
    if (context.width < 1 || context.height < 1)
      throw kd::RecipeError("a half of images of one pixel is nothing to see");
    return context;
  }

  void require_channels(std::int64_t there) const {
    if (params_.channels.empty()) {
      throw kd::RecipeError({}, "sees = \"channels\" wants the numbers of channels",
                            "channels = [0], with channels counted from 0");
    }
    for (const std::int64_t channel : params_.channels) {
      if (channel < there) continue;
      throw kd::RecipeError({}, "there is no channel " + std::to_string(channel),
                            "the images have " + std::to_string(there) + ", counted from 0");
    }
  }

  at::Tensor seen(const at::Tensor& images) const {
    const std::int64_t height = images.size(2), width = images.size(3);
    switch (params_.sees) {
      case Modality::kGrey:
        return grey_of(images);
      case Modality::kEdges:
        return edges_of(images);
      case Modality::kLeft:
        return images.narrow(3, 0, width / 2);
      case Modality::kRight:
        return images.narrow(3, width / 2, width - width / 2);
      case Modality::kTop:
        return images.narrow(2, 0, height / 2);
      case Modality::kBottom:
        return images.narrow(2, height / 2, height - height / 2);
      case Modality::kChannels:
        break;
    }
    std::vector<at::Tensor> channels;
    for (const std::int64_t channel : params_.channels) channels.push_back(images.narrow(1, channel, 1));
    return at::cat(channels, 1);
  }

  const Params params_;
  const std::unique_ptr<kd::Model> model_;
};

}  // namespace

KD_REGISTER(kd::Model, "modality", ModalityModel,
            "a network behind one modality of the images: grey, edges, a half, or some channels")
