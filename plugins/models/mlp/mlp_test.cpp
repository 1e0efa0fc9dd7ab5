// Tests of the model "mlp".
#include <gtest/gtest.h>
#include <torch/nn.h>

#include <cmath>

#include "kd/model.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"
#include "kd/testing/networks.h"

namespace {

constexpr kd::Model::Context kMnist{.channels = 1, .height = 28, .width = 28, .classes = 10};

std::unique_ptr<kd::Model> make_mlp(const std::string& parameters, const kd::Model::Context& context = kMnist) {
  kd::load_plugins();
  at::manual_seed(1);
  return kd::make<kd::Model>("{ type = 'mlp', " + parameters + " }", context);
}

std::int64_t count_parameters(kd::Model& model) {
  std::int64_t count = 0;
  for (const at::Tensor& parameter : model.module()->parameters()) count += parameter.numel();
  return count;
}

at::Tensor tap_of(kd::Model& model, const at::Tensor& images, const std::string& name, kd::RandomKey key = {}) {
  kd::Taps taps({name});
  model.forward(images, {.taps = &taps, .key = key});
  return taps.at(name).detach();
}

TEST(Mlp, HasTheParametersOfTheUsualTeacherAndStudent) {
  EXPECT_EQ(count_parameters(*make_mlp("hidden = [512, 128]")), 468'874);
  EXPECT_EQ(count_parameters(*make_mlp("hidden = [196]")), 155'830);
  EXPECT_EQ(count_parameters(*make_mlp("hidden = []")), 7'850);
}

TEST(Mlp, OffersItsTapsInOrder) {
  const auto model = make_mlp("hidden = [512, 128]");
  EXPECT_EQ(model->tap_names(),
            (std::vector<std::string>{"hidden1_pre", "hidden1", "hidden2_pre", "hidden2", "pooled", "logits"}));
  EXPECT_FALSE(model->convolutional());
  kd::Taps taps(model->tap_names());
  const at::Tensor logits = model->forward(kd::testing::normal({3, 1, 28, 28}), {.taps = &taps, .key = {}});
  EXPECT_EQ(taps.at("hidden1_pre").sizes(), (at::IntArrayRef{3, 512}));
  EXPECT_EQ(taps.at("hidden1").sizes(), (at::IntArrayRef{3, 512}));
  EXPECT_EQ(taps.at("hidden2_pre").sizes(), (at::IntArrayRef{3, 128}));
  EXPECT_EQ(taps.at("hidden2").sizes(), (at::IntArrayRef{3, 128}));
  EXPECT_TRUE(taps.at("pooled").equal(taps.at("hidden2")));
  EXPECT_TRUE(taps.at("logits").equal(logits));
  EXPECT_EQ(logits.sizes(), (at::IntArrayRef{3, 10}));
}

TEST(Mlp, OfLinearClassifierPoolsTheImageItself) {
  const auto model = make_mlp("hidden = []");
  const at::Tensor images = kd::testing::normal({2, 1, 28, 28});
  EXPECT_EQ(model->tap_names(), (std::vector<std::string>{"pooled", "logits"}));
  EXPECT_TRUE(tap_of(*model, images, "pooled").equal(images.flatten(1)));
}

TEST(Mlp, EqualsMatrixProducts) {
  for (const at::Device device : kd::testing::devices()) {
    const auto model = make_mlp("hidden = [20, 9]", {.channels = 2, .height = 4, .width = 3, .classes = 5});
    model->module()->to(device);
    const auto weights = model->module()->named_parameters();
    const auto layer = [&](const std::string& name, const at::Tensor& x) {
      return at::linear(x, weights[name + ".weight"], weights[name + ".bias"]);
    };
    const at::Tensor images = kd::testing::normal({6, 2, 4, 3}).to(device);
    const at::Tensor hidden = layer("fc1", images.reshape({6, 24})).clamp_min(0);
    const at::Tensor expected = layer("fc3", layer("fc2", hidden).clamp_min(0));
    EXPECT_TRUE(at::allclose(model->forward(images, {}), expected, 1e-5, 1e-6)) << device;
  }
}

/// The activations as their definitions have them, for one number.
double activate(const std::string& name, double x) {
  if (name == "tanh") return std::tanh(x);
  if (name == "gelu") return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  return std::max(x, 0.0);
}

TEST(Mlp, AppliesTheNamedActivation) {
  for (const std::string name : {"relu", "tanh", "gelu"}) {
    const auto model = make_mlp("hidden = [30], activation = '" + name + "'");
    const at::Tensor images = kd::testing::normal({4, 1, 28, 28});
    const at::Tensor before = tap_of(*model, images, "hidden1_pre").flatten();
    const at::Tensor after = tap_of(*model, images, "hidden1").flatten();
    for (std::int64_t i = 0; i < before.numel(); ++i) {
      EXPECT_NEAR(after[i].item<double>(), activate(name, before[i].item<double>()), 1e-6) << name;
    }
  }
}

TEST(Mlp, DropsUnitsInTrainingOnly) {
  constexpr double kProbability = 0.3;
  for (const at::Device device : kd::testing::devices()) {
    const auto model = make_mlp("hidden = [2000], dropout = 0.3, activation = 'tanh'");
    model->module()->to(device);
    const at::Tensor images = kd::testing::normal({50, 1, 28, 28}).to(device);
    model->module()->eval();
    const at::Tensor whole = tap_of(*model, images, "hidden1", {7});
    EXPECT_TRUE(whole.equal(tap_of(*model, images, "hidden1_pre").tanh()));

    model->module()->train();
    const at::Tensor dropped = tap_of(*model, images, "hidden1", {7});
    const at::Tensor kept = dropped.ne(0);
    EXPECT_NEAR(kept.to(at::kFloat).mean().item<double>(), 1 - kProbability, 0.01);
    EXPECT_TRUE(at::allclose(dropped.masked_select(kept), whole.masked_select(kept) / (1 - kProbability), 1e-5, 1e-7));
    // Of 100,000 magnitudes: the standard error of this mean is below 0.3 % of it.
    const double mean = whole.abs().mean().item<double>();
    EXPECT_NEAR(dropped.abs().mean().item<double>(), mean, 0.015 * mean);
  }
}

TEST(Mlp, DropsTheSameUnitsUnderTheSameKey) {
  const auto model = make_mlp("hidden = [300, 300], dropout = 0.5, activation = 'tanh'");
  const at::Tensor images = kd::testing::normal({8, 1, 28, 28});
  const at::Tensor first = tap_of(*model, images, "hidden1", {7});
  EXPECT_TRUE(first.equal(tap_of(*model, images, "hidden1", {7})));
  EXPECT_FALSE(first.equal(tap_of(*model, images, "hidden1", {8})));
  const at::Tensor second = tap_of(*model, images, "hidden2", {7});
  EXPECT_FALSE(first.ne(0).equal(second.ne(0)));
}

TEST(Mlp, AnswersFromItsLastFeatures) { kd::testing::expect_head("{ type = 'mlp', hidden = [16, 8] }", kMnist); }

}  // namespace
