// Tests of the model "resnet".
#include <gtest/gtest.h>
#include <torch/nn.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "kd/model.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"
#include "kd/testing/networks.h"

namespace {

using kd::testing::kCifar100;

struct Published {
  const char* name;
  int depth, width;
  std::int64_t parameters;
};

constexpr Published kPublished[] = {
    {"resnet8", 8, 1, 83'892},        {"resnet14", 14, 1, 181'108},   {"resnet20", 20, 1, 278'324},
    {"resnet32", 32, 1, 472'756},     {"resnet44", 44, 1, 667'188},   {"resnet56", 56, 1, 861'620},
    {"resnet110", 110, 1, 1'736'564}, {"resnet8x4", 8, 4, 1'233'540}, {"resnet32x4", 32, 4, 7'433'860},
};

std::unique_ptr<kd::Model> make_resnet(int depth, int width = 1, const kd::Model::Context& context = kCifar100,
                                       std::uint64_t seed = 1) {
  kd::load_plugins();
  at::set_num_threads(1);
  at::manual_seed(seed);
  std::ostringstream toml;
  toml << "{ type = 'resnet', depth = " << depth << ", width = " << width << " }";
  return kd::make<kd::Model>(toml.str(), context);
}

std::string read_text(const std::string& file) {
  std::ifstream stream(file);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

TEST(ResNet, HasTheNamesAndShapesOfThePublishedCheckpoints) {
  for (const Published& published : kPublished) {
    const std::string expected = read_text(std::string(KD_TESTDATA "/") + published.name + ".txt");
    ASSERT_FALSE(expected.empty()) << published.name;
    EXPECT_EQ(kd::testing::list_state(*make_resnet(published.depth, published.width)->module()), expected)
        << published.name;
  }
}

TEST(ResNet, HasThePublishedNumberOfParameters) {
  for (const Published& published : kPublished) {
    std::int64_t count = 0;
    const auto model = make_resnet(published.depth, published.width);
    for (const at::Tensor& parameter : model->module()->parameters()) count += parameter.numel();
    EXPECT_EQ(count, published.parameters) << published.name;
  }
}

TEST(ResNet, OffersItsTapsInOrder) {
  const auto model = make_resnet(8, 4);
  const std::vector<std::string> names{"stem",       "stage1_pre", "stage1", "stage2_pre", "stage2",
                                       "stage3_pre", "stage3",     "pooled", "logits"};
  EXPECT_EQ(model->tap_names(), names);
  EXPECT_TRUE(model->convolutional());
  kd::Taps taps(names);
  const at::Tensor logits = model->forward(kd::testing::normal({2, 3, 32, 32}), {.taps = &taps, .key = {}});
  EXPECT_EQ(taps.at("stem").sizes(), (at::IntArrayRef{2, 32, 32, 32}));
  EXPECT_EQ(taps.at("stage1").sizes(), (at::IntArrayRef{2, 64, 32, 32}));
  EXPECT_EQ(taps.at("stage2").sizes(), (at::IntArrayRef{2, 128, 16, 16}));
  EXPECT_EQ(taps.at("stage3").sizes(), (at::IntArrayRef{2, 256, 8, 8}));
  for (const std::string stage : {"stage1", "stage2", "stage3"}) {
    const at::Tensor& before = taps.at(stage + "_pre");
    EXPECT_LT(before.min().item<double>(), 0) << stage;
    EXPECT_TRUE(taps.at(stage).equal(before.clamp_min(0))) << stage;
  }
  EXPECT_TRUE(at::allclose(taps.at("pooled"), taps.at("stage3").sum({2, 3}) / 64, 1e-4, 1e-5));
  EXPECT_TRUE(taps.at("logits").equal(logits));
  EXPECT_EQ(logits.sizes(), (at::IntArrayRef{2, 100}));
}

TEST(ResNet, TakesImagesOfOtherSizes) {
  const auto model = make_resnet(8, 1, {.channels = 1, .height = 28, .width = 28, .classes = 10});
  kd::Taps taps({"stage3"});
  EXPECT_EQ(model->forward(kd::testing::normal({2, 1, 28, 28}), {.taps = &taps, .key = {}}).sizes(),
            (at::IntArrayRef{2, 10}));
  EXPECT_EQ(taps.at("stage3").sizes(), (at::IntArrayRef{2, 64, 7, 7}));
}

TEST(ResNet, StartsKaimingNormalOverTheFanOut) {
  const auto model = make_resnet(8, 4);
  const auto weights = model->module()->named_parameters();
  const auto deviation = [&](const std::string& name) { return weights[name].detach().std().item<double>(); };
  EXPECT_NEAR(deviation("layer3.0.conv1.weight") / std::sqrt(2.0 / (9 * 256)), 1, 0.01);
  EXPECT_NEAR(deviation("layer3.0.downsample.0.weight") / std::sqrt(2.0 / 256), 1, 0.02);
  for (const std::string layer : {"bn1", "layer2.0.bn2", "layer3.0.downsample.1"}) {
    EXPECT_TRUE(weights[layer + ".weight"].eq(1).all().item<bool>()) << layer;
    EXPECT_TRUE(weights[layer + ".bias"].eq(0).all().item<bool>()) << layer;
  }
}

TEST(ResNet, TrainsEveryParameter) {
  for (const at::Device device : kd::testing::devices()) {
    const auto model = make_resnet(14, 2);
    model->module()->to(device);
    const at::Tensor logits = model->forward(kd::testing::normal({4, 3, 32, 32}).to(device), {});
    (logits * kd::testing::normal({4, 100}, 5).to(device)).sum().backward();
    for (const auto& parameter : model->module()->named_parameters()) {
      ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
      EXPECT_GT(parameter.value().grad().abs().max().item<double>(), 0) << parameter.key();
    }
  }
}

TEST(ResNet, NamesTheValidDepths) {
  try {
    make_resnet(21);
    FAIL() << "a depth of 21 was accepted";
  } catch (const kd::Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("depth = 21 is not 6n + 2; valid depths: 8, 14, 20, 26, 32, 38, 44, 50, 56, 62"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("104, 110"), std::string::npos) << text;
  }
  EXPECT_THROW(make_resnet(2), kd::Error);
  EXPECT_THROW(make_resnet(116), kd::Error);
  EXPECT_THROW(make_resnet(20, 0), kd::Error);
}

/// ‖a − b‖ / ‖b‖
double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / b.to(at::kDouble).norm()).item<double>();
}

TEST(ResNet, KeepsTheChannelsLastLayout) {
  for (const at::Device device : kd::testing::devices()) {
    const auto model = make_resnet(8);
    model->module()->to(device);
    model->module()->eval();
    const at::NoGradGuard no_gradient;
    const at::Tensor images = kd::testing::normal({4, 3, 32, 32}).to(device);
    const at::Tensor expected = model->forward(images, {});
    for (at::Tensor& parameter : model->module()->parameters()) {
      if (parameter.dim() == 4) parameter.set_data(parameter.data().contiguous(at::MemoryFormat::ChannelsLast));
    }
    kd::Taps taps({"stage3"});
    const at::Tensor logits =
        model->forward(images.contiguous(at::MemoryFormat::ChannelsLast), {.taps = &taps, .key = {}});
    EXPECT_LT(relative_difference(logits, expected), 1e-3) << device;
    EXPECT_TRUE(taps.at("stage3").is_contiguous(at::MemoryFormat::ChannelsLast)) << device;
  }
}

TEST(ResNet, RunsInBfloat16) {
  for (const at::Device device : kd::testing::devices()) {
    const auto model = make_resnet(8);
    model->module()->to(device);
    model->module()->eval();
    const at::NoGradGuard no_gradient;
    const at::Tensor images = kd::testing::normal({4, 3, 32, 32}).to(device);
    const at::Tensor expected = model->forward(images, {});
    model->module()->to(at::kBFloat16);
    const at::Tensor logits = model->forward(images.to(at::kBFloat16), {});
    EXPECT_EQ(logits.scalar_type(), at::kBFloat16);
    EXPECT_LT(relative_difference(logits, expected), 0.03) << device;
    EXPECT_GT(relative_difference(logits, expected), 0) << device;
  }
}

TEST(ResNet, RepeatsUnderTheSameSeed) {
  const at::Tensor images = kd::testing::normal({4, 3, 32, 32});
  const auto first = make_resnet(20);
  const auto again = make_resnet(20);
  const auto other = make_resnet(20, 1, kCifar100, 2);
  const at::Tensor logits = first->forward(images, {});
  EXPECT_TRUE(logits.equal(again->forward(images, {})));
  EXPECT_FALSE(logits.equal(other->forward(images, {})));
}

TEST(ResNet, AnswersFromItsLastFeatures) { kd::testing::expect_head("{ type = 'resnet', depth = 8 }"); }

TEST(ResNet, HasAHeadForItsLastMapAndCanBeEnteredBehindEach) {
  const at::NoGradGuard no_grad;
  const auto model = kd::testing::make_network("{ type = 'resnet', depth = 8 }", kd::testing::kSmallImages);
  model->module()->eval();
  const kd::Taps taps = kd::testing::compute_taps(*model, kd::testing::make_images(kd::testing::kSmallImages, 2));
  for (const std::string tap : {"stem", "stage1", "stage2", "stage3", "pooled"})
    EXPECT_TRUE(model->behind(taps.at(tap), tap).allclose(taps.at("logits"), 1e-5, 1e-5)) << tap;
  for (const std::string tap : {"stem", "stage1", "stage2"}) EXPECT_THROW(model->head(taps.at(tap), tap), kd::Error);
  EXPECT_THROW(model->behind(taps.at("stage1_pre"), "stage1_pre"), kd::Error);
}

TEST(ResNet, TellsOfTheBatchNormsBehindItsFeatures) {
  kd::testing::expect_batch_norms("{ type = 'resnet', depth = 8 }", 3);
}

}  // namespace
