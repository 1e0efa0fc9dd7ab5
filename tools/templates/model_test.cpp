// Tests of the model "KD_NAME_HERE".
#include "kd/model.h"

#include <gtest/gtest.h>
#include <torch/nn.h>

#include "kd/plugin.h"
#include "kd/testing.h"

namespace {

std::unique_ptr<kd::Model> make(const at::Device& device) {
  kd::load_plugins();
  auto model = kd::make<kd::Model>("{ type = 'KD_NAME_HERE', hidden = 5 }",
                                   {.channels = 2, .height = 3, .width = 4, .classes = 7});
  model->module()->to(device);
  return model;
}

TEST(KdClassHere, OffersEveryTapThatItNames) {
  for (const at::Device& device : kd::testing::devices()) {
    const auto model = make(device);
    kd::Taps taps(model->tap_names());
    const at::Tensor logits = model->forward(kd::testing::normal({6, 2, 3, 4}).to(device), {.taps = &taps, .key = {}});
    EXPECT_EQ(logits.sizes().vec(), (std::vector<std::int64_t>{6, 7}));
    for (const std::string& name : model->tap_names()) EXPECT_TRUE(taps.has(name)) << name;
    EXPECT_EQ(taps.at("pooled").sizes().vec(), (std::vector<std::int64_t>{6, 5}));
    EXPECT_TRUE(taps.at("logits").equal(logits));
  }
}

TEST(KdClassHere, HasTheParametersOfItsLayers) {
  std::int64_t count = 0;
  for (const at::Tensor& parameter : make(at::kCPU)->module()->parameters()) count += parameter.numel();
  EXPECT_EQ(count, (2 * 3 * 4 + 1) * 5 + (5 + 1) * 7);
}

TEST(KdClassHere, EveryParameterGetsAGradient) {
  for (const at::Device& device : kd::testing::devices()) {
    const auto model = make(device);
    model->forward(kd::testing::normal({6, 2, 3, 4}).to(device), {}).pow(2).sum().backward();
    for (const auto& parameter : model->module()->named_parameters()) {
      EXPECT_GT(parameter->grad().abs().sum().item<double>(), 0) << parameter.key();
    }
  }
}

}  // namespace
