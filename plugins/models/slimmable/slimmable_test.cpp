// Tests of the model "slimmable".
#include <map>

#include "kd/testing/networks.h"

namespace {

using kd::testing::kSmallImages;

constexpr const char* kSmall = "{ type = 'slimmable', depth = 8, widths = [0.25, 0.5, 1.0] }";
constexpr const char* kNarrow = "{ type = 'slimmable', depth = 8, widths = [0.25, 0.5, 1.0], answers_at = 1 }";
constexpr const char* kPlain = "{ type = 'resnet', depth = 8 }";

/// Parameters and buffers by name.
std::map<std::string, at::Tensor> state_of(kd::Model& model) {
  std::map<std::string, at::Tensor> state;
  for (const auto& parameter : model.module()->named_parameters()) state[parameter.key()] = parameter.value();
  for (const auto& buffer : model.module()->named_buffers()) state[buffer.key()] = buffer.value();
  return state;
}

/// Gives `to` the weights of `from`, cut to the first numbers of each dimension, and the batch norms that have `suffix`
/// behind their names, where there are any.
void copy_prefixes(kd::Model& from, kd::Model& to, const std::string& suffix = "") {
  const at::NoGradGuard no_gradient;
  const auto source = state_of(from);
  for (auto& [name, target] : state_of(to)) {
    std::string own = name;
    own.insert(name.rfind('.'), suffix);
    at::Tensor given = source.at(source.contains(own) ? own : name);
    for (std::int64_t d = 0; d < target.dim(); ++d) given = given.narrow(d, 0, target.size(d));
    target.copy_(given);
  }
}

/// Numbers of every batch norm that are not those of its start.
void shake(kd::Model& model) {
  const at::NoGradGuard no_gradient;
  std::uint64_t seed = 100;
  for (auto& parameter : model.module()->named_parameters()) {
    if (parameter.value().dim() == 1)
      parameter.value().add_(kd::testing::normal(parameter.value().sizes(), ++seed), 0.1);
  }
  for (auto& buffer : model.module()->named_buffers()) {
    if (buffer.value().dim() == 1) buffer.value().add_(kd::testing::normal(buffer.value().sizes(), ++seed).abs(), 0.1);
  }
}

TEST(Slimmable, IsTheResNetAtItsWidest) {
  const auto slimmable = kd::testing::make_network(kSmall, kSmallImages);
  const auto plain = kd::testing::make_network(kPlain, kSmallImages);
  shake(*slimmable);
  copy_prefixes(*slimmable, *plain);
  const at::Tensor images = kd::testing::make_images(kSmallImages, 3);
  for (const bool training : {false, true}) {
    slimmable->module()->train(training);
    plain->module()->train(training);
    EXPECT_TRUE(slimmable->forward(images, {}).allclose(plain->forward(images, {}), 1e-5, 1e-6)) << training;
  }
}

TEST(Slimmable, IsAResNetOfFewerChannelsWhereItIsNarrow) {
  const auto slimmable = kd::testing::make_network(
      "{ type = 'slimmable', depth = 8, width = 4, widths = [0.5, 1.0], answers_at = 1 }", kSmallImages);
  const auto plain = kd::testing::make_network("{ type = 'resnet', depth = 8, width = 2 }", kSmallImages);
  shake(*slimmable);
  copy_prefixes(*slimmable, *plain, "_width1");
  const at::Tensor images = kd::testing::make_images(kSmallImages, 3);
  for (const bool training : {false, true}) {
    slimmable->module()->train(training);
    plain->module()->train(training);
    EXPECT_TRUE(slimmable->forward(images, {}).allclose(plain->forward(images, {}), 1e-4, 1e-5)) << training;
  }
}

TEST(Slimmable, TellsTheLogitsOfEveryWidth) {
  const auto wide = kd::testing::make_network(kSmall, kSmallImages);
  const auto narrow = kd::testing::make_network(kNarrow, kSmallImages);
  wide->module()->eval();
  narrow->module()->eval();
  const at::Tensor images = kd::testing::make_images(kSmallImages, 3);
  const kd::Taps of_wide = kd::testing::compute_taps(*wide, images);
  const kd::Taps of_narrow = kd::testing::compute_taps(*narrow, images);
  for (const std::string name : {"width1", "width2", "width3"}) {
    EXPECT_TRUE(of_wide.at(name).equal(of_narrow.at(name))) << name;
  }
  EXPECT_TRUE(of_wide.at("width3").equal(of_wide.at("logits")));
  EXPECT_TRUE(of_narrow.at("width1").equal(of_narrow.at("logits")));
  EXPECT_FALSE(of_wide.at("width1").allclose(of_wide.at("width3"), 1e-2, 1e-2));
}

TEST(Slimmable, OffersItsTapsAtTheAnsweringWidth) {
  EXPECT_EQ(kd::testing::describe_taps(kNarrow, kSmallImages),
            "stem 4x16x16\nstage1_pre 4x16x16\nstage1 4x16x16\nstage2_pre 8x8x8\nstage2 8x8x8\nstage3_pre 16x4x4\n"
            "stage3 16x4x4\npooled 16\nwidth1 10\nwidth2 10\nwidth3 10\nlogits 10\n");
}

TEST(Slimmable, NormalisesEachWidthByItsOwnStatistics) {
  const auto model = kd::testing::make_network(kSmall, kSmallImages);
  kd::Taps taps({"width2"});
  model->forward(kd::testing::make_images(kSmallImages, 4), {.taps = &taps, .key = {}});
  const auto buffers = model->module()->named_buffers();
  for (const std::string layer : {"bn1", "layer2.0.bn2", "layer2.0.downsample.1"}) {
    EXPECT_TRUE(buffers[layer + "_width1.running_mean"].eq(0).all().item<bool>()) << layer;
    EXPECT_FALSE(buffers[layer + "_width2.running_mean"].eq(0).all().item<bool>()) << layer;
    EXPECT_FALSE(buffers[layer + ".running_mean"].eq(0).all().item<bool>()) << layer;
  }
}

TEST(Slimmable, TrainsThePrefixAlone) {
  const auto model = kd::testing::make_network(kNarrow, kSmallImages);
  const at::Tensor images = kd::testing::make_images(kSmallImages, 4);
  (model->forward(images, {}) * kd::testing::normal({4, 10}, 3)).sum().backward();
  const at::Tensor gradient = model->module()->named_parameters()["layer3.0.conv2.weight"].grad();
  EXPECT_GT(gradient.narrow(0, 0, 16).narrow(1, 0, 16).abs().min().item<double>(), 0);
  EXPECT_TRUE(gradient.narrow(0, 16, 48).eq(0).all().item<bool>());
  EXPECT_TRUE(gradient.narrow(1, 16, 48).eq(0).all().item<bool>());
}

TEST(Slimmable, IsSound) {
  kd::testing::expect_head(kSmall);
  kd::testing::expect_head(kNarrow);
  kd::testing::expect_activated_stages(kSmall);
  kd::testing::expect_channels_last(kNarrow);
  kd::testing::expect_bfloat16(kSmall);
  kd::testing::expect_training_step("{ type = 'slimmable', depth = 8, widths = [1.0] }");
}

TEST(Slimmable, RefusesWhatIsNoNetwork) {
  kd::testing::expect_refusal("{ type = 'slimmable', depth = 9 }", "depth = 9 is not 6n + 2");
  kd::testing::expect_refusal("{ type = 'slimmable', widths = [0.5, 0.25, 1.0] }", "widths must rise");
  kd::testing::expect_refusal("{ type = 'slimmable', widths = [0.5] }", "widths must rise");
  kd::testing::expect_refusal("{ type = 'slimmable', widths = [] }", "widths must rise");
  kd::testing::expect_refusal("{ type = 'slimmable', answers_at = 5 }", "there are only 4 widths");
}

}  // namespace
