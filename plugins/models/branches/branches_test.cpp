// Tests of the model "branches".
#include "kd/testing/networks.h"

namespace {

using kd::testing::kSmallImages;

constexpr const char* kSmall = "{ type = 'branches', model = { type = 'resnet', depth = 8 } }";

std::string with(const std::string& model, const std::string& from, const std::string& more = "") {
  std::string toml = "{ type = 'branches', model = " + model;
  toml += ", from = '" + from + "'" + more + " }";
  return toml;
}

TEST(Branches, OffersWhatIsCommonAndEachBranch) {
  EXPECT_EQ(kd::testing::describe_taps(kSmall, kSmallImages),
            "stem 16x16x16\nstage1_pre 16x16x16\nstage1 16x16x16\nstage2_pre 32x8x8\nstage2 32x8x8\n"
            "branch1 10\nbranch2 10\nbranch3 10\nensemble 10\nlogits 10\n");
  EXPECT_EQ(kd::testing::describe_taps(with("{ type = 'lenet5' }", "pooled", ", branches = 2"), kSmallImages),
            "stage1_pre 6x16x16\nstage1 6x16x16\nstage2_pre 16x4x4\nstage2 16x4x4\nhidden_pre 120\nhidden 120\n"
            "pooled_pre 84\npooled 84\nbranch1 10\nbranch2 10\nensemble 10\nlogits 10\n");
}

TEST(Branches, HasTheStemOnceAndTheNamesOfTheNetwork) {
  const auto plain = kd::testing::make_network("{ type = 'resnet', depth = 8 }");
  const auto branched = kd::testing::make_network(kSmall);
  std::int64_t tail = 0;
  const auto names = branched->module()->named_parameters();
  for (const auto& parameter : plain->module()->named_parameters()) {
    ASSERT_TRUE(names.contains(parameter.key())) << parameter.key();
    if (parameter.key().starts_with("layer3") || parameter.key().starts_with("fc")) {
      tail += parameter.value().numel();
      EXPECT_TRUE(names.contains("branch2." + parameter.key())) << parameter.key();
      EXPECT_TRUE(names.contains("branch3." + parameter.key())) << parameter.key();
    } else {
      EXPECT_FALSE(names.contains("branch2." + parameter.key())) << parameter.key();
    }
  }
  const std::int64_t gate = 32 * 3 + 3 + 2 * 3;
  EXPECT_EQ(kd::testing::count_parameters(*branched), kd::testing::count_parameters(*plain) + 2 * tail + gate);
}

/// Each branch is the network of the same name: with the weights of branch b, a plain network gives its logits.
void expect_branches_of(const std::string& network, const std::string& from) {
  const at::NoGradGuard no_gradient;
  const std::string toml = with(network, from, ", branches = 2");
  const auto plain = kd::testing::make_network(network, kSmallImages);
  const auto branched = kd::testing::make_network(toml, kSmallImages);
  const at::Tensor images = kd::testing::make_images(kSmallImages, 3);
  for (const std::string branch : {"branch1", "branch2"}) {
    const auto source = branched->module()->named_parameters();
    for (auto& target : plain->module()->named_parameters()) {
      const std::string own = branch + "." + target.key();
      target.value().copy_(source[branch != "branch1" && source.contains(own) ? own : target.key()]);
    }
    for (const bool training : {false, true}) {
      plain->module()->train(training);
      branched->module()->train(training);
      const at::Tensor expected = plain->forward(images, {});
      const at::Tensor actual = kd::testing::compute_taps(*branched, images).at(branch);
      EXPECT_TRUE(actual.allclose(expected, 1e-4, 1e-4)) << toml << branch << training;
    }
    // Statistics moved in the training pass.
    for (const auto& model : {plain.get(), branched.get()}) {
      for (auto& buffer : model->module()->named_buffers()) buffer.value().fill_(buffer.key().ends_with("var") ? 1 : 0);
    }
  }
}

TEST(Branches, AreTheNetworkItself) {
  for (const std::string from : {"stem", "stage1", "stage2", "stage3", "pooled"})
    expect_branches_of("{ type = 'resnet', depth = 14, width = 2 }", from);
  for (const std::string from : {"stem", "stage1", "stage2", "stage3"})
    expect_branches_of("{ type = 'wrn', depth = 16, widen = 2 }", from);
  expect_branches_of("{ type = 'resnet50', depth = 18 }", "stage3");
  expect_branches_of("{ type = 'resnet50', depth = 50 }", "stage2");
  for (const std::string network : {"vgg", "mobilenet_v2", "shufflenet_v1", "shufflenet_v2"})
    for (const std::string from : {"stem", "stage2", "pooled"})
      expect_branches_of("{ type = '" + network + "' }", from);
  expect_branches_of("{ type = 'lenet5' }", "pooled");
}

TEST(Branches, RepeatWithinAListOfBlocksThoseBehindTheFeature) {
  const auto model = kd::testing::make_network(with("{ type = 'mobilenet_v2' }", "stage2"));
  const auto names = model->module()->named_parameters();
  EXPECT_TRUE(names.contains("blocks.2.0.conv.0.weight"));
  EXPECT_FALSE(names.contains("branch2.blocks.2.0.conv.0.weight"));
  EXPECT_TRUE(names.contains("branch2.blocks.3.0.conv.0.weight"));
}

TEST(Branches, AreSummedByTheGate) {
  const at::NoGradGuard no_gradient;
  const auto model = kd::testing::make_network(kSmall, kSmallImages);
  model->module()->eval();
  const auto weights = model->module()->named_parameters();
  weights["gate.bn.weight"].copy_(at::arange(1, 4, at::kFloat));
  weights["gate.bn.bias"].copy_(at::arange(3, at::kFloat) - 0.5);
  const auto buffers = model->module()->named_buffers();
  buffers["gate.bn.running_mean"].fill_(0.2);
  buffers["gate.bn.running_var"].fill_(0.5);
  const kd::Taps taps = kd::testing::compute_taps(*model, kd::testing::make_images(kSmallImages, 4));
  const kd::testing::Rows feature = kd::testing::rows(taps.at("stage2").to(at::kDouble).mean({2, 3}));
  const kd::testing::Rows weight = kd::testing::rows(weights["gate.fc.weight"]);
  const kd::testing::Rows bias = kd::testing::rows(weights["gate.fc.bias"].unsqueeze(0));
  const kd::testing::Rows ensemble = kd::testing::rows(taps.at("ensemble"));
  std::vector<kd::testing::Rows> branches;
  for (const std::string name : {"branch1", "branch2", "branch3"}) branches.push_back(kd::testing::rows(taps.at(name)));
  for (std::size_t i = 0; i < feature.size(); ++i) {
    double gates[3], sum = 0;
    for (std::size_t b = 0; b < 3; ++b) {
      double a = bias[0][b];
      for (std::size_t d = 0; d < feature[i].size(); ++d) a += weight[b][d] * feature[i][d];
      const double scale = static_cast<double>(b) + 1, shift = static_cast<double>(b) - 0.5;
      const double normalised = (a - 0.2) / std::sqrt(0.5 + 1e-5) * scale + shift;
      sum += gates[b] = std::exp(std::max(normalised, 0.0));
    }
    for (std::size_t c = 0; c < ensemble[i].size(); ++c) {
      double expected = 0;
      for (std::size_t b = 0; b < 3; ++b) expected += gates[b] / sum * branches[b][i][c];
      EXPECT_NEAR(ensemble[i][c], expected, 1e-5);
    }
  }
}

TEST(Branches, AreAveragedWithoutAGate) {
  const auto model = kd::testing::make_network(with("{ type = 'resnet', depth = 8 }", "stage2", ", gate = 'mean'"));
  const kd::Taps taps = kd::testing::compute_taps(*model, kd::testing::make_images(kd::testing::kCifar100, 2));
  EXPECT_TRUE(taps.at("ensemble").allclose((taps.at("branch1") + taps.at("branch2") + taps.at("branch3")) / 3));
  EXPECT_FALSE(model->module()->named_parameters().contains("gate.fc.weight"));
}

TEST(Branches, AnswerAlone) {
  const at::Tensor images = kd::testing::make_images(kSmallImages, 3);
  const auto together = kd::testing::make_network(kSmall, kSmallImages);
  together->module()->eval();
  const kd::Taps taps = kd::testing::compute_taps(*together, images);
  for (const std::string name : {"branch1", "branch2", "branch3", "ensemble"}) {
    const auto model = kd::testing::make_network(
        with("{ type = 'resnet', depth = 8 }", "stage2", ", answers = '" + name + "'"), kSmallImages);
    model->module()->eval();
    EXPECT_TRUE(model->forward(images, {}).equal(taps.at(name))) << name;
    EXPECT_TRUE(kd::testing::compute_taps(*model, images).at("ensemble").equal(taps.at("ensemble"))) << name;
  }
}

TEST(Branches, GiveTheStemOneStepPerPass) {
  const auto model = kd::testing::make_network(kSmall, kSmallImages);
  const auto buffers = model->module()->named_buffers();
  EXPECT_TRUE(buffers["bn1.running_mean"].eq(0).all().item<bool>());
  EXPECT_TRUE(model->module()->is_training());
  model->forward(kd::testing::make_images(kSmallImages, 3), {});
  for (const std::string norm : {"bn1", "layer2.0.bn2", "layer3.0.bn1", "branch3.layer3.0.bn1", "gate.bn"})
    EXPECT_EQ(buffers[norm + ".num_batches_tracked"].item<std::int64_t>(), 1) << norm;
}

TEST(Branches, TakeABatchOfOne) {
  const auto model = kd::testing::make_network(kSmall, kSmallImages);
  EXPECT_TRUE(model->forward(kd::testing::make_images(kSmallImages, 1), {}).isfinite().all().item<bool>());
  EXPECT_TRUE(model->module()->named_buffers()["gate.bn.running_var"].eq(1).all().item<bool>());
}

TEST(Branches, AreSound) {
  kd::testing::expect_taps_change_nothing(kSmall);
  kd::testing::expect_channels_last(kSmall);
  kd::testing::expect_bfloat16_gradients(kSmall);
  kd::testing::expect_training_step(with("{ type = 'resnet', depth = 8 }", "stage1"));
  kd::testing::expect_training_step(with("{ type = 'wrn', depth = 10, widen = 1 }", "stage2"));
}

TEST(Branches, RefuseWhatCannotBeBranched) {
  kd::testing::expect_refusal(with("{ type = 'resnet', depth = 8 }", "stage9"), "resnet has no feature 'stage9'");
  kd::testing::expect_refusal(with("{ type = 'lenet5' }", "stage1"), "lenet5 cannot be branched");
  kd::testing::expect_refusal(with("{ type = 'resnet', depth = 8 }", "stage1_pre"), "cannot be branched");
  kd::testing::expect_refusal(with("{ type = 'wrn', dropout = 0.3 }", "stage2"), "wrn cannot be branched");
  kd::testing::expect_refusal(with("{ type = 'resnet' }", "stage2", ", answers = 'branch4'"), "is no branch");
}

}  // namespace
