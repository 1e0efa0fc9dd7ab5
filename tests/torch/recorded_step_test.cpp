// Tests of steps that are recorded once and run again: they train what computed steps train, bit for bit. Only a GPU
// records; elsewhere both ways are one.
#include "engine/recorded_step.h"

#include "engine/cuda_graph.h"
#include "engine_fixture.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "record/records.h"

namespace {

namespace fs = std::filesystem;

/// Says that it can be recorded, and asks the device for a number.
class WaitingLoss final : public kd::Loss {
 public:
  struct Params {
    static void schema(kd::Schema<Params>&) {}
  };
  explicit WaitingLoss(const Params&) {}
  at::Tensor operator()(const kd::LossInput& input) override {
    const at::Tensor value = input.student.logits.square().mean();
    return value / std::max(value.item<double>(), 1.0);
  }
  bool recordable() const override { return true; }
};
KD_REGISTER(kd::Loss, "test_waiting", WaitingLoss, "waits for the device")

/// Keeps what a run says and warns of.
class Listener final : public kd::Progress {
 public:
  void say(const std::string& line) override { said += line + "\n"; }
  void warn(const std::string& line) override { warned += line + "\n"; }
  void step(const kd::StepProgress&) override {
    if (--steps_left == 0) throw kd::Error("cut off");
  }
  void epoch(const kd::EpochSummary&) override {}

  std::string said, warned;
  int steps_left = 0;
};

/// More than whole batches, and what a GPU may do in one step and not in another.
const std::string kStages = R"(
device = "DEVICE"
[data]
type = "glyphs"
train = 280
test = 100
[train]
epochs = 3
batch_size = 64
optimizer = { type = "sgd", lr = 0.05, momentum = 0.9, nesterov = true }
schedule = { type = "cosine" }
augment = [{ type = "random_crop", padding = 2 }, { type = "normalize" }]
[[stage]]
name = "teacher"
model = { type = "lenet5" }
)";

class RecordedStepTest : public engine_tests::EngineTest {
 protected:
  kd::RunResult train(const std::string& recipe, const std::vector<std::string>& overrides, const std::string& runs,
                      Listener& listener) {
    return kd::run_experiment(plan(overrides, recipe),
                              {.data_root = "", .runs_folder = folder_ / runs, .deterministic = true, .arguments = {}},
                              listener);
  }

  /// Trains both ways, and says what the recorded one said.
  Listener compare(const std::string& stage, const std::vector<std::string>& overrides = {}) {
    static int runs = 0;
    const std::string name = std::to_string(++runs);
    Listener recorded, computed;
    std::vector<std::string> without = overrides;
    without.push_back("train.cuda_graph=false");
    const kd::RunResult a = train(kStages + stage, overrides, "recorded" + name, recorded);
    const kd::RunResult b = train(kStages + stage, without, "computed" + name, computed);
    EXPECT_EQ(computed.said.find("steps recorded"), std::string::npos);
    for (std::size_t i = 0; i < a.stages.size(); ++i) {
      for (const auto& file : fs::directory_iterator(b.stages[i].folder / "ckpt/last")) {
        if (file.path().extension() != ".safetensors") continue;
        const kd::TensorMap expected = kd::read_safetensors(file.path());
        const kd::TensorMap found = kd::read_safetensors(a.stages[i].folder / "ckpt/last" / file.path().filename());
        EXPECT_EQ(largest_difference(expected, found), 0) << stage << file.path().filename();
      }
      const auto expected = kd::read_records(b.stages[i].folder / "metrics.jsonl");
      const auto found = kd::read_records(a.stages[i].folder / "metrics.jsonl");
      EXPECT_EQ(found.size(), expected.size());
      for (std::size_t r = 0; r < std::min(found.size(), expected.size()); ++r)
        EXPECT_EQ(found[r].value, expected[r].value) << stage << expected[r].name << " epoch " << expected[r].epoch;
    }
    return recorded;
  }

  bool records() const { return GetParam() == "cuda" && kd::CudaGraph::available(); }
  static std::size_t count(const std::string& text, const std::string& word) {
    std::size_t count = 0;
    for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
    return count;
  }
};
INSTANTIATE_TEST_SUITE_P(Devices, RecordedStepTest, ::testing::ValuesIn(engine_tests::device_names()),
                         [](const auto& item) { return item.param; });

TEST_P(RecordedStepTest, DistillationTrainsTheSame) {
  const Listener said = compare(R"(
[[stage]]
name = "student"
scheme = { type = "vanilla_kd" }
teachers = [{ stage = "teacher" }]
model = { type = "lenet5" }
)");
  EXPECT_EQ(count(said.said, "steps recorded"), records() ? 2U : 0U) << said.said;
  EXPECT_EQ(said.warned, "");
}

TEST_P(RecordedStepTest, FeaturesAverageAndClippingTrainTheSame) {
  const Listener said = compare(R"(
[[stage]]
name = "student"
scheme = { type = "vanilla_kd", losses = [{ type = "cross_entropy" }, { type = "fitnet", weight = 0.5, taps = ["stage2"] }] }
teachers = [{ stage = "teacher" }]
model = { type = "lenet5" }
)",
                                {"train.ema=0.9", "train.max_gradient_norm=1.0", "train.optimizer={type=\"adam\"}"});
  EXPECT_EQ(count(said.said, "steps recorded"), records() ? 2U : 0U) << said.said;
  EXPECT_EQ(said.warned, "");
}

TEST_P(RecordedStepTest, MutualLearningAndMixupTrainTheSame) {
  const Listener said = compare(R"(
[[stage]]
name = "pair"
scheme = { type = "mutual" }
models = [{ type = "lenet5", name = "one" }, { type = "mlp", hidden = [16], name = "two" }]
[[stage]]
name = "mixed"
scheme = { type = "mixup_kd" }
teachers = [{ stage = "teacher" }]
model = { type = "lenet5" }
)");
  EXPECT_EQ(count(said.said, "steps recorded"), records() ? 3U : 0U) << said.said;
  EXPECT_EQ(said.warned, "");
}

TEST_P(RecordedStepTest, HalfPrecisionTrainsTheSame) {
  if (GetParam() != "cuda") GTEST_SKIP() << "fp16 is for GPUs";
  const Listener said = compare("", {"train.precision=\"fp16\""});
  EXPECT_EQ(count(said.said, "steps recorded"), records() ? 1U : 0U) << said.said;
}

TEST_P(RecordedStepTest, WhatChangesWithinAnEpochIsComputed) {
  const Listener said = compare(R"(
[[stage]]
name = "growing"
scheme = { type = "supervised", losses = [{ type = "cross_entropy", weight = { type = "linear", from = 0.1, to = 1.0 } }] }
model = { type = "lenet5" }
[[stage]]
name = "dropping"
model = { type = "mlp", hidden = [16], dropout = 0.5 }
[[stage]]
name = "several"
model = { type = "lenet5" }
accumulate = 2
)");
  EXPECT_EQ(count(said.said, "steps recorded"), records() ? 1U : 0U) << said.said;
}

TEST_P(RecordedStepTest, ALossThatWaitsIsComputedAfterAWarning) {
  const Listener said = compare(R"(
[[stage]]
name = "waiting"
scheme = { type = "supervised", losses = [{ type = "cross_entropy" }, { type = "test_waiting" }] }
model = { type = "lenet5" }
)");
  EXPECT_EQ(count(said.warned, "stage waiting: its steps cannot be recorded"), records() ? 1U : 0U) << said.warned;
}

TEST_P(RecordedStepTest, GoesOnInTheMiddleOfAnEpoch) {
  Listener listener;
  const std::vector<std::string> settings = {"train.checkpoint_seconds=1e-9"};  // after every step
  const kd::RunResult whole = train(kStages, settings, "whole", listener);
  for (const int steps : {3, 5, 4}) {  // of 15
    listener.steps_left = steps;
    EXPECT_THROW(train(kStages, settings, "parts", listener), kd::Error);
  }
  listener.said.clear();
  const kd::RunResult parts = train(kStages, settings, "parts", listener);
  EXPECT_EQ(count(listener.said, "going on after 2 of 3 epochs and 2 of 5 batches"), 1U) << listener.said;
  EXPECT_EQ(largest_difference(weights(whole.stages[0]), weights(parts.stages[0])), 0);
}

}  // namespace
