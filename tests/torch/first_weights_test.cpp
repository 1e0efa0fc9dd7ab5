// Tests of what a network begins with and how its parts are trained: init, freeze, rates, and the adapters of losses.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "engine_fixture.h"
#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/loss.h"
#include "kd/model.h"
#include "kd/tensor.h"
#include "record/checkpoint.h"

namespace {

/// A learned linear map from the student's last features to the teacher's; its distance is the loss.
class RegressorLoss final : public kd::Loss {
 public:
  using Params = kd::NoParameters;
  RegressorLoss(const Params&, const Context& context)
      : regressor_(adapter_.layers("regressor")
                       .linear(kd::channels(kd::shape_of(context.student, "pooled", "student")),
                               kd::channels(kd::shape_of(context.teacher().taps, "pooled", "teacher")))) {}
  kd::LossNeeds needs() const override {
    return {.teacher = true, .student_taps = {"pooled"}, .teacher_taps = {"pooled"}};
  }
  std::shared_ptr<torch::nn::Module> module() override { return adapter_.module(); }
  at::Tensor operator()(const kd::LossInput& input) override {
    ++passes;
    return at::mse_loss(regressor_(input.student.taps.at("pooled")), input.teacher().taps.at("pooled"));
  }

  inline static int passes = 0;

 private:
  kd::AdapterModule adapter_;
  kd::Layers regressor_;
};

/// An mlp that counts its passes.
class CountedModel final : public kd::Model {
 public:
  using Params = kd::NoParameters;
  CountedModel(const Params&, const Context& context)
      : network_(kd::make<kd::Model>("{ type = 'mlp', hidden = [32] }", context)) {}
  at::Tensor forward(const at::Tensor& images, const kd::ForwardPass& pass) override {
    ++passes;
    return network_->forward(images, pass);
  }
  std::vector<std::string> tap_names() const override { return network_->tap_names(); }
  std::shared_ptr<torch::nn::Module> module() override { return network_->module(); }

  inline static int passes = 0;

 private:
  std::unique_ptr<kd::Model> network_;
};

KD_REGISTER(kd::Loss, "regressor", RegressorLoss, "a learned map between features")
KD_REGISTER(kd::Model, "counted", CountedModel, "counts its passes")

constexpr const char* kTwoStages = R"(
device = "DEVICE"
[data]
type = "glyphs"
train = 128
test = 50
[train]
epochs = 1
batch_size = 64
threads = 1
precision = "fp32"
optimizer = { type = "sgd", lr = 0.05 }
[[stage]]
name = "first"
model = { type = "mlp", hidden = [32, 16] }
[[stage]]
name = "second"
model = { type = "mlp", hidden = [32, 12] }
)";

class FirstWeightsTest : public engine_tests::EngineTest {
 protected:
  /// What the run said.
  class Listener final : public kd::Progress {
   public:
    void say(const std::string& text) override { said += text + "\n"; }
    void warn(const std::string& text) override { said += text + "\n"; }
    void step(const kd::StepProgress&) override {}
    void epoch(const kd::EpochSummary&) override {}
    std::string said;
  };

  kd::RunResult run_stages(const std::vector<std::string>& overrides, const std::string& text = kTwoStages,
                           const std::string& runs = "runs", std::int64_t max_steps = 0) {
    return kd::run_experiment(plan(overrides, text),
                              {.data_root = "",
                               .runs_folder = folder_ / runs,
                               .deterministic = GetParam() == "cuda",
                               .max_steps = max_steps,
                               .arguments = {}},
                              listener_);
  }

  /// The message of the error that these settings are refused with, before anything is trained.
  std::string refusal(const std::vector<std::string>& overrides, const std::string& text = kTwoStages) {
    try {
      run_stages(overrides, text);
    } catch (const kd::Error& error) {
      EXPECT_FALSE(std::filesystem::exists(folder_ / "runs"));
      return error.what();
    }
    return "";
  }

  static kd::TensorMap adapters(const kd::StageResult& stage) {
    return kd::read_safetensors(kd::adapters_file(stage.folder / "ckpt/last/model.safetensors"));
  }

  Listener listener_;
};

INSTANTIATE_TEST_SUITE_P(Devices, FirstWeightsTest, ::testing::ValuesIn(engine_tests::device_names()),
                         [](const auto& item) { return item.param; });

const std::string kStill = "stage.second.optimizer.lr=1e-30";

void expect_part(const kd::TensorMap& a, const kd::TensorMap& b, const std::string& name, bool equal) {
  EXPECT_EQ(a.at(name).sizes() == b.at(name).sizes() && a.at(name).equal(b.at(name)), equal) << name;
}

TEST_P(FirstWeightsTest, InitTakesAllThatFitsAndSaysWhatItLeft) {
  const auto result = run_stages({kStill, "stage.second.init={stage=\"first\"}"});
  const auto first = weights(result.stages[0]), second = weights(result.stages[1]);
  for (const char* name : {"fc1.weight", "fc1.bias", "fc3.bias"}) expect_part(first, second, name, true);
  for (const char* name : {"fc2.weight", "fc3.weight"}) expect_part(first, second, name, false);
  EXPECT_NE(listener_.said.find("begins with 3 tensors of stage 'first'; left there: "), std::string::npos)
      << listener_.said;
  EXPECT_NE(listener_.said.find("fc2.weight"), std::string::npos) << listener_.said;
}

TEST_P(FirstWeightsTest, InitTakesThePartsThatAreNamed) {
  const auto result = run_stages({kStill, "stage.second.init={stage=\"first\", parts=[\"fc1\"]}"});
  const auto first = weights(result.stages[0]), second = weights(result.stages[1]);
  expect_part(first, second, "fc1.weight", true);
  expect_part(first, second, "fc3.bias", false);
}

TEST_P(FirstWeightsTest, InitComesFromAFileOrAnotherRunAsWell) {
  const auto first = run_stages({}, kTwoStages, "a");
  const std::string file = (first.stages[0].folder / "ckpt/last/model.safetensors").string();
  for (const std::string& source :
       {fmt::format("file=\"{}\"", file), fmt::format("run=\"{}\", stage=\"first\"", first.folder.string())}) {
    const auto result = run_stages({kStill, "stage.second.init={" + source + "}"}, kTwoStages, "b");
    expect_part(weights(first.stages[0]), weights(result.stages[1]), "fc1.weight", true);
  }
}

TEST_P(FirstWeightsTest, WithoutEpochsANetworkIsTakenAsItIs) {
  const auto first = run_stages({}, kTwoStages, "a");
  const std::string file = (first.stages[0].folder / "ckpt/last/model.safetensors").string();
  const std::vector<std::string> taken{"stage.first.epochs=0", fmt::format("stage.first.init={{file=\"{}\"}}", file)};
  const auto second = run_stages(taken, kTwoStages, "b");
  EXPECT_EQ(weights(first.stages[0]).size(), weights(second.stages[0]).size());
  EXPECT_EQ(largest_difference(weights(first.stages[0]), weights(second.stages[0])), 0);
  EXPECT_EQ(first.stages[0].networks[0].test.nll, second.stages[0].networks[0].test.nll);
  EXPECT_EQ(second.stages[0].epochs, 0);
  EXPECT_TRUE(run_stages(taken, kTwoStages, "b").stages[0].reused);
  EXPECT_NE(refusal({"stage.first.epochs=0"}).find("stage 'first': epochs = 0 takes network 'model' as it is"),
            std::string::npos);
  const std::string lacks = refusal({"stage.second.epochs=0", "stage.second.init={stage=\"first\"}"});
  EXPECT_NE(lacks.find("network 'model' is taken as it is, and stage 'first' lacks "), std::string::npos) << lacks;
}

TEST_P(FirstWeightsTest, WhatAStageBeginsWithDeterminesIt) {
  run_stages({"stage.second.init={stage=\"first\"}"});
  EXPECT_TRUE(run_stages({"stage.second.init={stage=\"first\"}"}).stages[1].reused);
  EXPECT_FALSE(run_stages({"stage.second.init={stage=\"first\", parts=[\"fc1\"]}"}).stages[1].reused);
  const auto changed = run_stages({"stage.second.init={stage=\"first\"}", "stage.first.epochs=2"});
  EXPECT_FALSE(changed.stages[1].reused) << "what it began with is another one";
  EXPECT_FALSE(run_stages({}).stages[1].reused);
}

TEST_P(FirstWeightsTest, WhatCannotBeABeginningIsRefused) {
  EXPECT_NE(refusal({"stage.second.init={stage=\"frist\"}"}).find("did you mean 'first'?"), std::string::npos);
  EXPECT_NE(refusal({"stage.second.init={stage=\"second\"}"}).find("second"), std::string::npos);
  EXPECT_NE(refusal({"stage.second.init={}"}).find("give either 'stage' or 'file'"), std::string::npos);
  const std::string part = refusal({"stage.second.init={stage=\"first\", parts=[\"layer1\"]}"});
  EXPECT_NE(part.find("network 'model': nothing of stage 'first' fits it"), std::string::npos) << part;
  const std::string other =
      refusal({"stage.second.model={type=\"resnet\", depth=8}", "stage.second.init={stage=\"first\"}"});
  EXPECT_NE(other.find("nothing of stage 'first' fits it"), std::string::npos) << other;
}

TEST_P(FirstWeightsTest, AFrozenPartKeepsItsWeightsAndItsStatistics) {
  const std::vector<std::string> network = {"stage.first.model={type=\"resnet\", depth=8}",
                                            "stage.second.model={type=\"resnet\", depth=8}",
                                            "stage.second.init={stage=\"first\"}"};
  auto frozen = network;
  frozen.emplace_back("stage.second.freeze=[\"conv1\", \"bn1\", \"layer1\"]");
  const auto result = run_stages(frozen);
  const auto before = weights(result.stages[0]), after = weights(result.stages[1]);
  for (const char* name : {"conv1.weight", "bn1.weight", "bn1.running_mean", "bn1.num_batches_tracked",
                           "layer1.0.conv1.weight", "layer1.0.bn2.running_var"})
    expect_part(before, after, name, true);
  for (const char* name : {"layer2.0.conv1.weight", "layer2.0.bn1.running_mean", "fc.weight"})
    expect_part(before, after, name, false);
  // The frozen layers answer as in evaluation after an evaluation too, which puts every layer into that mode.
  frozen.emplace_back("stage.second.epochs=2");
  const auto longer = run_stages(frozen);
  expect_part(before, weights(longer.stages[1]), "layer1.0.bn2.running_var", true);
  std::filesystem::remove_all(folder_ / "runs");
  const std::string wrong = refusal({network[0], network[1], "stage.second.freeze=[\"layer9\"]"});
  EXPECT_NE(wrong.find("freeze: network 'model' has no part 'layer9'"), std::string::npos) << wrong;
  EXPECT_NE(wrong.find("did you mean 'layer"), std::string::npos) << wrong;
}

TEST_P(FirstWeightsTest, ARateIsAFactorOfThatOfItsPart) {
  const std::vector<std::string> common = {"stage.second.optimizer={type=\"sgd\", lr=0.1, momentum=0}",
                                           "stage.second.init={stage=\"first\"}",
                                           "stage.second.model={type=\"mlp\", hidden=[32, 16]}"};
  auto with_rates = common;
  with_rates.emplace_back("stage.second.rates={fc1=0, fc2=0.5}");
  const auto plain = run_stages(common, kTwoStages, "a", 1), rated = run_stages(with_rates, kTwoStages, "b", 1);
  const auto start = weights(plain.stages[0]), by_one = weights(plain.stages[1]), by_rates = weights(rated.stages[1]);
  const auto moved = [&](const kd::TensorMap& to, const char* name) { return to.at(name) - start.at(name); };
  EXPECT_GT(moved(by_one, "fc1.weight").abs().max().item<double>(), 1e-6);
  EXPECT_EQ(moved(by_rates, "fc1.weight").abs().max().item<double>(), 0);
  EXPECT_TRUE(moved(by_rates, "fc2.weight").allclose(0.5 * moved(by_one, "fc2.weight"), 1e-4, 1e-7));
  EXPECT_TRUE(moved(by_rates, "fc3.weight").allclose(moved(by_one, "fc3.weight"), 1e-4, 1e-7));
  std::filesystem::remove_all(folder_ / "runs");
  EXPECT_NE(refusal({"stage.second.rates={fc9=2}"}).find("rates: network 'model' has no part 'fc9'"),
            std::string::npos);
}

constexpr const char* kHint = R"(
device = "DEVICE"
[data]
type = "glyphs"
train = 128
test = 50
[train]
epochs = 2
batch_size = 64
threads = 1
precision = "fp32"
optimizer = { type = "sgd", lr = 0.05, momentum = 0.9 }
[[stage]]
name = "teacher"
model = { type = "counted" }
[[stage]]
name = "hint"
scheme = { type = "vanilla_kd", losses = [{ type = "cross_entropy" }, { type = "regressor" }] }
teachers = [{ stage = "teacher" }]
model = { type = "mlp", hidden = [8] }
[[stage]]
name = "student"
scheme = { type = "vanilla_kd", losses = [{ type = "cross_entropy" }, { type = "regressor" }] }
teachers = [{ stage = "teacher" }]
model = { type = "mlp", hidden = [8] }
)";

TEST_P(FirstWeightsTest, AdaptersAreTrainedKeptAndLoaded) {
  const auto result = run_stages({"stage.student.optimizer.lr=1e-30", "stage.student.init={stage=\"hint\"}"}, kHint);
  const auto hint = adapters(result.stages[1]), student = adapters(result.stages[2]);
  ASSERT_EQ(hint.size(), 2U);
  expect_part(hint, student, "regressor.regressor.0.weight", true);
  EXPECT_EQ(hint.at("regressor.regressor.0.weight").sizes(), (at::IntArrayRef{32, 8}));
  // Another stage's adapters begin otherwise, and without the model's weights as a prefix alone.
  const auto alone = run_stages(
      {"stage.student.optimizer.lr=1e-30", "stage.student.init={stage=\"hint\", parts=[\"adapter.regressor\"]}"}, kHint,
      "alone");
  expect_part(hint, adapters(alone.stages[2]), "regressor.regressor.0.weight", true);
  expect_part(weights(alone.stages[1]), weights(alone.stages[2]), "fc1.weight", false);
  const auto without = run_stages({"stage.student.optimizer.lr=1e-30"}, kHint, "without");
  expect_part(hint, adapters(without.stages[2]), "regressor.regressor.0.weight", false);
}

TEST_P(FirstWeightsTest, AdaptersBeginFromTheKeyOfTheirStage) {
  at::manual_seed(1);
  const auto first = run_stages({}, kHint, "a");
  at::manual_seed(2);
  const auto second = run_stages({}, kHint, "b");
  expect_part(adapters(first.stages[1]), adapters(second.stages[1]), "regressor.regressor.0.weight", true);
  const auto other = run_stages({"seed=1"}, kHint, "c");
  expect_part(adapters(first.stages[1]), adapters(other.stages[1]), "regressor.regressor.0.weight", false);
}

TEST_P(FirstWeightsTest, EachOfTwoTeachersHasAnAdapterOfItsOwn) {
  const auto result =
      run_stages({"stage.hint.teachers=[{stage=\"teacher\", weight=3}, {stage=\"teacher\", weight=1}]"}, kHint);
  const auto kept = adapters(result.stages[1]);
  EXPECT_EQ(kept.size(), 4U);
}

TEST_P(FirstWeightsTest, ATeacherWhoseFeaturesAreWantedRunsOnceAStep) {
  const auto passes_of = [&](const std::string& epochs) {
    CountedModel::passes = RegressorLoss::passes = 0;
    run_stages({"stage.hint.epochs=" + epochs}, kHint);
    return std::pair(CountedModel::passes, RegressorLoss::passes);
  };
  passes_of("1");  // trains the other stages also
  const auto three = passes_of("3"), five = passes_of("5");
  EXPECT_EQ(five.second - three.second, 2 * 2) << "two epochs of two batches";
  EXPECT_EQ(five.first - three.first, 2 * 2) << "the teacher's own passes";
  EXPECT_NE(listener_.said.find("answers of 0 of 1 teacher(s) cached"), std::string::npos) << listener_.said;
}

}  // namespace
