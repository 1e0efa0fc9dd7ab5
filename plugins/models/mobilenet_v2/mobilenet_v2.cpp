// MobileNetV2 of Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv 1801.04381,
// for images of 32 × 32, in the form that the benchmark of RepDistiller trains, with the same names of parameters.
//   model = { type = "mobilenet_v2", expansion = 6, width_mult = 0.5 }
#include <torch/nn.h>

#include <algorithm>

#include "../shared/blocks.h"
#include "kd/plugin.h"

namespace {

constexpr std::size_t kStages = 4;
constexpr double kLastChannels = 1280;

void append_normalized(torch::nn::Sequential& layers, std::int64_t in, std::int64_t out, const blocks::Window& window) {
  layers->push_back(blocks::make_convolution(in, out, window));
  layers->push_back(torch::nn::BatchNorm2d(out));
}

void append_activated(torch::nn::Sequential& layers, std::int64_t in, std::int64_t out, const blocks::Window& window) {
  append_normalized(layers, in, out, window);
  layers->push_back(torch::nn::ReLU(torch::nn::ReLUOptions(/*inplace=*/true)));
}

/// Widens, convolves each channel by itself, and narrows without an activation.
class InvertedResidual final : public torch::nn::Module {
 public:
  InvertedResidual(std::int64_t in, std::int64_t out, std::int64_t stride, std::int64_t expansion)
      : conv_(register_module("conv", torch::nn::Sequential())), shortcut_(stride == 1 && in == out) {
    const std::int64_t wide = in * expansion;
    append_activated(conv_, in, wide, {});
    append_activated(conv_, wide, wide, {.size = 3, .stride = stride, .groups = wide});
    append_normalized(conv_, wide, out, {});
  }

  at::Tensor forward(const at::Tensor& x, kd::Taps& taps, const std::string& name) {
    at::Tensor y = conv_->forward(x);
    if (shortcut_) y.add_(x);
    taps.offer(name, y);
    return y;
  }

 private:
  torch::nn::Sequential conv_;
  bool shortcut_;
};

/// Blocks of one width. The feature of a row that `tap` names is its last block's output.
struct Row {
  bool expands;
  std::int64_t channels, count, stride;
  std::string_view tap;
};

constexpr Row kRows[] = {{false, 16, 1, 1, ""},      {true, 24, 2, 1, "stage1"}, {true, 32, 3, 2, "stage2"},
                         {true, 64, 4, 2, ""},       {true, 96, 3, 1, "stage3"}, {true, 160, 3, 2, ""},
                         {true, 320, 1, 1, "stage4"}};

class MobileNetV2Module final : public torch::nn::Module {
 public:
  using Stage = blocks::Stage<InvertedResidual>;

  MobileNetV2Module(std::int64_t expansion, double width, const kd::Model::Context& context)
      : conv1_(register_module("conv1", torch::nn::Sequential())) {
    const auto scale = [width](std::int64_t channels) {
      return static_cast<std::int64_t>(static_cast<double>(channels) * width);
    };
    std::int64_t in = scale(32);
    append_activated(conv1_, context.channels, in, {.size = 3, .stride = 2});
    auto rows = register_module("blocks", torch::nn::ModuleList());
    for (const Row& row : kRows) {
      const std::int64_t out = scale(row.channels);
      rows->push_back(make_stage(row, in, out, row.expands ? expansion : 1));
      in = out;
    }
    const auto last = static_cast<std::int64_t>(kLastChannels * std::max(1.0, width));
    conv2_ = register_module("conv2", torch::nn::Sequential());
    append_activated(conv2_, in, last, {});
    linear_ = torch::nn::Linear(last, context.classes);
    register_module("classifier", torch::nn::Sequential(linear_));
    start_weights();
  }

  at::Tensor stem(const at::Tensor& images, kd::Taps& /*taps*/) { return conv1_->forward(images); }
  at::Tensor behind(at::Tensor x, std::size_t done, kd::Taps& taps, kd::RandomKey /*key*/) {
    std::size_t row = 0;
    while (done > 0 && kRows[row++].tap != blocks::stage_name(done)) {
    }
    for (; row < rows_.size(); ++row) x = rows_[row]->forward(x, taps, std::string(kRows[row].tap));
    return blocks::classify(conv2_->forward(x), linear_, taps);
  }
  torch::nn::Linear& classifier() { return linear_; }

 private:
  std::shared_ptr<Stage> make_stage(const Row& row, std::int64_t in, std::int64_t out, std::int64_t expansion) {
    const auto stage = std::make_shared<Stage>();
    for (std::int64_t i = 0; i < row.count; ++i) {
      stage->append(i == 0 ? in : out, out, i == 0 ? row.stride : std::int64_t{1}, expansion);
    }
    rows_.push_back(stage);
    return stage;
  }

  void start_weights() {
    blocks::start_convolutions_normal(*this);
    torch::nn::init::normal_(linear_->weight, 0, 0.01);
    torch::nn::init::zeros_(linear_->bias);
  }

  torch::nn::Sequential conv1_;
  std::vector<std::shared_ptr<Stage>> rows_;
  torch::nn::Sequential conv2_{nullptr};
  torch::nn::Linear linear_{nullptr};
};

class MobileNetV2 final : public blocks::Network<MobileNetV2Module> {
 public:
  struct Params {
    std::int64_t expansion = 6;
    double width_mult = 0.5;

    static void schema(kd::Schema<Params>& s) {
      s.field("expansion", &Params::expansion, "factor t by which a block widens its input; 6 in the paper")
          .def(6)
          .at_least(1);
      s.field("width_mult", &Params::width_mult,
              "factor of the rows' channels, 16 to 320, rounded down; above 1 also of the last layer's 1280; 0.5 makes "
              "the benchmark's MobileNetV2, 1 the paper's")
          .def(0.5)
          .at_least(1.0 / 16);
    }
  };

  MobileNetV2(const Params& params, const Context& context)
      : Network(std::make_shared<MobileNetV2Module>(params.expansion, params.width_mult, context), kStages) {}
};

}  // namespace

KD_REGISTER(kd::Model, "mobilenet_v2", MobileNetV2,
            "MobileNetV2 for small images (Sandler et al., 2018, as in RepDistiller), which it halves four times; its "
            "stages end without an activation, so that \"_pre\" is the same feature; convolutions start Kaiming-normal "
            "(fan-out, relu), the classifier normal with deviation 0.01")
