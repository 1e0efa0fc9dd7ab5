// Tests of the model "lenet5".
#include <gtest/gtest.h>
#include <torch/nn.h>

#include <algorithm>
#include <array>

#include "kd/model.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"
#include "kd/testing/networks.h"

namespace {

constexpr kd::Model::Context kMnist{.channels = 1, .height = 28, .width = 28, .classes = 10};
constexpr kd::Model::Context kCifar{.channels = 3, .height = 32, .width = 32, .classes = 100};

std::unique_ptr<kd::Model> make_lenet5(const kd::Model::Context& context, const std::string& parameters = {}) {
  kd::load_plugins();
  at::manual_seed(1);
  return kd::make<kd::Model>("{ type = 'lenet5'" + parameters + " }", context);
}

std::int64_t count_parameters(kd::Model& model) {
  std::int64_t count = 0;
  for (const at::Tensor& parameter : model.module()->parameters()) count += parameter.numel();
  return count;
}

kd::Taps all_taps(kd::Model& model, const at::Tensor& images) {
  kd::Taps taps(model.tap_names());
  model.forward(images, {.taps = &taps, .key = {}});
  return taps;
}

TEST(LeNet5, HasTheParametersOfItsLayers) {
  EXPECT_EQ(count_parameters(*make_lenet5(kMnist)), 156 + 2'416 + 48'120 + 10'164 + 850);
  EXPECT_EQ(count_parameters(*make_lenet5(kCifar)), 456 + 2'416 + 48'120 + 10'164 + 8'500);
}

TEST(LeNet5, OffersItsTapsForBothUsualSizes) {
  for (const kd::Model::Context& context : {kMnist, kCifar}) {
    const auto model = make_lenet5(context);
    EXPECT_EQ(model->tap_names(), (std::vector<std::string>{"stage1_pre", "stage1", "stage2_pre", "stage2",
                                                            "hidden_pre", "hidden", "pooled_pre", "pooled", "logits"}));
    const auto images = kd::testing::normal({2, context.channels, context.height, context.width});
    const kd::Taps taps = all_taps(*model, images);
    for (const std::string suffix : {"_pre", ""}) {
      EXPECT_EQ(taps.at("stage1" + suffix).sizes(), (at::IntArrayRef{2, 6, 28, 28}));
      EXPECT_EQ(taps.at("stage2" + suffix).sizes(), (at::IntArrayRef{2, 16, 10, 10}));
      EXPECT_EQ(taps.at("hidden" + suffix).sizes(), (at::IntArrayRef{2, 120}));
      EXPECT_EQ(taps.at("pooled" + suffix).sizes(), (at::IntArrayRef{2, 84}));
    }
    EXPECT_EQ(taps.at("logits").sizes(), (at::IntArrayRef{2, context.classes}));
    EXPECT_TRUE(model->convolutional());
  }
}

/// The largest value or the mean of each 2×2 square, entry by entry.
at::Tensor pool_by_loop(const at::Tensor& x, bool average) {
  const at::Tensor out = at::empty({x.size(0), x.size(1), x.size(2) / 2, x.size(3) / 2});
  const auto in = x.accessor<float, 4>();
  auto result = out.accessor<float, 4>();
  for (std::int64_t n = 0; n < out.size(0); ++n) {
    for (std::int64_t c = 0; c < out.size(1); ++c) {
      for (std::int64_t i = 0; i < out.size(2); ++i) {
        for (std::int64_t j = 0; j < out.size(3); ++j) {
          const std::array<float, 4> square{in[n][c][2 * i][2 * j], in[n][c][2 * i][2 * j + 1],
                                            in[n][c][2 * i + 1][2 * j], in[n][c][2 * i + 1][2 * j + 1]};
          const float sum = square[0] + square[1] + square[2] + square[3];
          result[n][c][i][j] = average ? sum / 4 : *std::max_element(square.begin(), square.end());
        }
      }
    }
  }
  return out;
}

TEST(LeNet5, EqualsItsLayersOneByOne) {
  for (const std::string activation : {"relu", "tanh"}) {
    for (const std::string pooling : {"max", "average"}) {
      const auto model = make_lenet5(kMnist, ", activation = '" + activation + "', pooling = '" + pooling + "'");
      const auto w = model->module()->named_parameters();
      const auto activate = [&](const at::Tensor& x) { return activation == "tanh" ? x.tanh() : x.clamp_min(0); };
      const at::Tensor images = kd::testing::normal({3, 1, 28, 28});
      const at::NoGradGuard no_gradient;
      at::Tensor x = activate(at::conv2d(images, w["conv1.weight"], w["conv1.bias"], 1, 2));
      x = activate(at::conv2d(pool_by_loop(x, pooling == "average"), w["conv2.weight"], w["conv2.bias"]));
      x = pool_by_loop(x, pooling == "average").reshape({3, 400});
      x = activate(x.matmul(w["fc1.weight"].t()) + w["fc1.bias"]);
      x = activate(x.matmul(w["fc2.weight"].t()) + w["fc2.bias"]);
      x = x.matmul(w["fc3.weight"].t()) + w["fc3.bias"];
      EXPECT_TRUE(at::allclose(model->forward(images, {}), x, 1e-4, 1e-5)) << activation << " " << pooling;
    }
  }
}

TEST(LeNet5, RunsOnEveryDeviceAndTrainsEveryParameter) {
  for (const at::Device device : kd::testing::devices()) {
    const auto model = make_lenet5(kCifar);
    const at::Tensor images = kd::testing::normal({4, 3, 32, 32});
    const at::Tensor on_host = model->forward(images, {}).detach();
    model->module()->to(device);
    const at::Tensor logits = model->forward(images.to(device), {});
    EXPECT_TRUE(at::allclose(logits.detach().cpu(), on_host, 1e-3, 1e-4)) << device;
    (logits * kd::testing::normal({4, 100}, 5).to(device)).sum().backward();
    for (const auto& parameter : model->module()->named_parameters()) {
      ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
      EXPECT_GT(parameter.value().grad().abs().max().item<double>(), 0) << parameter.key();
    }
  }
}

TEST(LeNet5, RefusesImagesThatVanishInPooling) {
  EXPECT_EQ(make_lenet5({.channels = 1, .height = 12, .width = 13, .classes = 3})
                ->forward(kd::testing::normal({2, 1, 12, 13}), {})
                .sizes(),
            (at::IntArrayRef{2, 3}));
  try {
    make_lenet5({.channels = 1, .height = 28, .width = 11, .classes = 3});
    FAIL() << "images of 28x11 pixels were accepted";
  } catch (const kd::Error& error) {
    EXPECT_NE(std::string(error.what()).find("at least 12x12 pixels; these are 28x11"), std::string::npos)
        << error.what();
  }
}

TEST(LeNet5, MixesPaddedAndUnpaddedSides) {
  const auto model = make_lenet5({.channels = 1, .height = 28, .width = 40, .classes = 10});
  const kd::Taps taps = all_taps(*model, kd::testing::normal({2, 1, 28, 40}));
  EXPECT_EQ(taps.at("stage1").sizes(), (at::IntArrayRef{2, 6, 28, 36}));
}

TEST(LeNet5, AnswersFromItsLastFeatures) { kd::testing::expect_head("{ type = 'lenet5' }", kMnist); }

}  // namespace
