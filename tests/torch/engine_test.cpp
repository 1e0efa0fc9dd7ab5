// Tests of runs: what is repeated, reused, refused and recorded.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <map>

#include "engine/stored.h"
#include "engine_fixture.h"
#include "kd/dataset.h"
#include "kd/loss.h"
#include "record/records.h"

namespace {

namespace fs = std::filesystem;

/// A loss that wants a feature which no network offers.
class GreedyLoss final : public kd::Loss {
 public:
  using Params = kd::NoParameters;
  explicit GreedyLoss(const Params&) {}
  at::Tensor operator()(const kd::LossInput& input) override { return input.student.logits.sum(); }
  kd::LossNeeds needs() const override { return {.student_taps = {"poold"}}; }
};

KD_REGISTER(kd::Loss, "greedy", GreedyLoss, "wants a feature that nobody offers")

/// Images of random numbers, and labels that say nothing about them: i + shift.
class Mislabelled final : public kd::DataSet {
 public:
  struct Params {
    std::int64_t shift = 0;
    static void schema(kd::Schema<Params>& s) { s.field("shift", &Params::shift, "of all labels").def(0); }
  };
  explicit Mislabelled(const Params& params) : shift_(params.shift) {}
  kd::DataInfo info() const override { return {1, 28, 28, {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, {}, {}}; }
  kd::ImageSet load(kd::Split) const override {
    return {kd::testing::normal({90, 1, 28, 28}, 1).mul(40).add(128).clamp(0, 255).to(at::kByte),
            (at::arange(90, at::kLong) + shift_).remainder(10)};
  }

 private:
  const std::int64_t shift_;
};

KD_REGISTER(kd::DataSet, "mislabelled", Mislabelled, "images whose labels say nothing")

class RunTest : public engine_tests::EngineTest {};

INSTANTIATE_TEST_SUITE_P(Devices, RunTest, ::testing::ValuesIn(engine_tests::device_names()),
                         [](const auto& item) { return item.param; });

TEST_P(RunTest, TheSameRecipeGivesTheSameBits) {
  const auto first = run({}, "a");
  const auto second = run({}, "b");
  EXPECT_EQ(largest_difference(weights(first.stages[1]), weights(second.stages[1])), 0.0);
  const auto other = run({"seed=1"}, "c");
  EXPECT_GT(largest_difference(weights(first.stages[1]), weights(other.stages[1])), 1e-3);
}

TEST_P(RunTest, AFinishedStageIsUsedAgainUntilSomethingThatDeterminesItChanges) {
  EXPECT_FALSE(run().stages[0].reused);
  const auto again = run();
  EXPECT_TRUE(again.stages[0].reused);
  EXPECT_TRUE(again.stages[1].reused);
  const auto student_changed = run({"stage.student.optimizer.lr=0.01"});
  EXPECT_TRUE(student_changed.stages[0].reused);
  EXPECT_FALSE(student_changed.stages[1].reused);
  const auto teacher_changed = run({"stage.teacher.epochs=1"});
  EXPECT_FALSE(teacher_changed.stages[0].reused);
  EXPECT_FALSE(teacher_changed.stages[1].reused);  // its teacher is another one
  EXPECT_FALSE(run({}, "runs", 0, /*fresh=*/true).stages[0].reused);
  // Speed alone does not make another stage.
  EXPECT_TRUE(run({"train.evaluation_batch_size=50"}).stages[1].reused);
}

TEST_P(RunTest, LabelsOfAnotherSourceChangeNothing) {
  for (const std::string scheme : {"{ type = 'vanilla_kd' }", "{ type = 'mixup_kd' }", "{ type = 'bss', samples = 8 }",
                                    "{ type = 'inconsistent_kd' }", "{ type = 'kd3' }",
                                    "{ type = 'vanilla_kd', losses = [{ type = 'cross_entropy' }, { type = 'dkd' }, "
                                    "{ type = 'crd', negatives = 32, width = 8 }] }"}) {
    SCOPED_TRACE(scheme);
    const auto trained = [&](const std::string& shift, const std::string& runs) {
      return run(
          {"stage.student.scheme=" + scheme, "stage.student.model={ type = 'lenet5' }",
           "stage.teacher.model={ type = 'lenet5' }",
           "stage.student.data={ unlabelled_from = { type = 'mislabelled', share = 0.4, shift = " + shift + " } }"},
          runs);
    };
    const auto one = trained("0", "one"), other = trained("3", "other");
    EXPECT_NE(one.stages[1].fingerprint, other.stages[1].fingerprint) << "both were trained";
    EXPECT_EQ(largest_difference(weights(one.stages[1]), weights(other.stages[1])), 0.0);
  }
}

TEST_P(RunTest, AReusedStageWithDamagedWeightsIsTrainedAnew) {
  const auto first = run();
  const fs::path file = first.stages[0].folder / "ckpt/last/model.safetensors";
  const auto before = weights(first.stages[0]);
  fs::resize_file(file, fs::file_size(file) - 4);
  const auto second = run();
  EXPECT_FALSE(second.stages[0].reused);
  EXPECT_EQ(largest_difference(before, weights(second.stages[0])), 0.0);
}

TEST_P(RunTest, ATeacherThatSawOtherDataIsRefusedBeforeTraining) {
  const auto problem_of = [&](const std::vector<std::string>& overrides) -> std::string {
    try {
      run(overrides);
    } catch (const kd::Error& error) {
      EXPECT_EQ(error.code(), kd::ExitCode::kUsage);
      return error.what();
    }
    return "";
  };
  EXPECT_NE(
      problem_of({"stage.teacher.data={classes=[0, 1, 2]}"}).find("was trained on 3 classes, and this stage has 10"),
      std::string::npos);
  EXPECT_NE(problem_of({"stage.teacher.data={classes=[1, 0, 2, 3, 4, 5, 6, 7, 8, 9]}"})
                .find("was trained on other classes: class 0"),
            std::string::npos);
  EXPECT_NE(problem_of({"stage.teacher.data={like=\"cifar10\"}"})
                .find("was trained on images of 3×32×32, and this stage's are 1×28×28"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(folder_ / "runs")) << "nothing was trained";
}

TEST_P(RunTest, WhatCanBeKnownIsSaidBeforeTheFirstStageIsTrained) {
  const auto problems_of = [&](const std::vector<std::string>& overrides) -> std::string {
    try {
      run(overrides);
    } catch (const kd::Error& error) {
      return error.what();
    }
    return "";
  };
  const auto expect_said = [&](const std::vector<std::string>& overrides, const std::string& part) {
    const std::string text = problems_of(overrides);
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
    EXPECT_NE(text.find("stage 'student'"), std::string::npos) << text;
    EXPECT_FALSE(fs::exists(folder_ / "runs"));
  };
  expect_said({"stage.student.scheme.losses=[]"}, "network 'model' has no loss in epoch 1");
  expect_said({"stage.student.scheme.losses=[{type=\"cross_entropy\", weight=0}]"}, "has no loss in epoch 1");
  expect_said({"stage.student.scheme.losses=[{type=\"kd\", weight={type=\"linear\", from=1, to=0, epochs=1}}]"},
              "has no loss in epoch 2");
  expect_said({"stage.student.scheme.losses=[{type=\"kd\", temperature={type=\"linear\", from=4, to=0, epochs=1}}]"},
              "'temperature' is 0 in epoch 2 by its schedule, and must be > 0");
  expect_said({"stage.student.drop_last=true", "stage.student.batch_size=1000"}, "fewer than one batch of 1000");
  expect_said({"stage.student.augment=[{type=\"normalize\"}, {type=\"rand_augment\"}]"}, "put it before 'normalize'");
  expect_said({"stage.student.augment=[{type=\"mixup\"}, {type=\"mixup\"}]"}, "these are mixed already");
  // All of them at once, and those of analyses with them.
  const std::string all =
      problems_of({"stage.teacher.scheme={type=\"supervised\", losses=[]}", "stage.student.scheme.losses=[]",
                   "analysis=[{type=\"ensemble\", stages=[\"nobody\"]}]"});
  for (const char* part : {"stage 'teacher'", "stage 'student'", "there is no stage 'nobody'"})
    EXPECT_NE(all.find(part), std::string::npos) << part << " is not in: " << all;
}

TEST_P(RunTest, ALossThatIsNotFiniteEndsTheRunWithItsOwnCode) {
  try {
    run({"train.optimizer.lr=1e30"});
    FAIL() << "the run went on";
  } catch (const kd::Error& error) {
    EXPECT_EQ(error.code(), kd::ExitCode::kNotFinite);
    EXPECT_NE(std::string(error.what()).find("stage 'teacher', network 'model', epoch"), std::string::npos)
        << error.what();
  }
}

TEST_P(RunTest, ValidationChoosesTheEpoch) {
  const auto result = run({"data.validation=56", "train.epochs=3"});
  EXPECT_TRUE(fs::exists(result.stages[0].folder / "ckpt/best/model.safetensors"));
  double best = -1;
  double test_of_best = 0;
  std::map<std::int64_t, double> test;
  for (const kd::Record& record : kd::read_records(result.folder / "metrics.jsonl")) {
    if (record.stage != "teacher" || record.name != "top1") continue;
    if (record.split == "test") test[record.epoch] = record.value;
    if (record.split == "validation" && record.value > best) {
      best = record.value;
      test_of_best = test.at(record.epoch);
    }
  }
  EXPECT_EQ(result.stages[0].networks[0].test.top1, test_of_best);
}

TEST_P(RunTest, EarlyStoppingStops) {
  const auto result = run({"train.optimizer.lr=1e-30", "train.epochs=10", "train.early_stopping=2"});
  EXPECT_EQ(result.stages[0].epochs, 3);  // the first evaluation is the lowest, the next two are no lower
}

TEST_P(RunTest, EvaluationOfAStoredStageGivesItsResultAgain) {
  const auto result = run();
  const auto again = kd::evaluate_stage(result.stages[1].folder, "last", "", "",
                                        at::Device(GetParam() == "cuda" ? at::kCUDA : at::kCPU));
  EXPECT_EQ(again[0].test.top1, result.stages[1].networks[0].test.top1);
  EXPECT_NEAR(again[0].test.nll, result.stages[1].networks[0].test.nll, 1e-6);
  EXPECT_NEAR(again[0].test.calibration.nll, again[0].test.nll, 1e-5);
  EXPECT_NEAR(again[0].test.calibration.accuracy, again[0].test.top1, 1e-9);
}

TEST_P(RunTest, ATeacherCanComeFromAFileOrAnotherRun) {
  const auto first = run({}, "a");
  const std::string file = (first.stages[0].folder / "ckpt/last/model.safetensors").string();
  const auto from_file =
      run({"stage.student.teachers=[{file=\"" + file + "\", model={type=\"mlp\", hidden=[32]}}]"}, "b");
  EXPECT_EQ(largest_difference(weights(first.stages[1]), weights(from_file.stages[1])), 0.0);
  const auto from_run =
      run({"stage.student.teachers=[{run=\"" + first.folder.string() + "\", stage=\"teacher\"}]"}, "c");
  EXPECT_EQ(largest_difference(weights(first.stages[1]), weights(from_run.stages[1])), 0.0);
  try {
    run({"stage.student.teachers=[{file=\"" + file + "\", model={type=\"mlp\", hidden=[16]}}]"}, "d");
    FAIL();
  } catch (const kd::FileError& error) {
    EXPECT_NE(std::string(error.what()).find("wrong shape: fc1.weight is [32, 784] and should be [16, 784]"),
              std::string::npos)
        << error.what();
  }
}

TEST_P(RunTest, ChecksNameWhatALossLacks) {
  const auto problems_of = [&](const std::string& losses) -> std::string {
    kd::SilentProgress silence;
    try {
      kd::check_experiment(plan({"stage.teacher.scheme={type=\"supervised\", losses=" + losses + "}"}),
                           {.data_root = "", .runs_folder = folder_ / "runs", .arguments = {}}, silence);
    } catch (const kd::RecipeError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(problems_of("[{type=\"cross_entropy\"}]"), "");
  const std::string tap = problems_of("[{type=\"greedy\"}]");
  EXPECT_NE(tap.find("a loss wants the feature 'poold' of 'model'"), std::string::npos) << tap;
  EXPECT_NE(tap.find("did you mean 'pooled'?"), std::string::npos) << tap;
  const std::string teacher = problems_of("[{type=\"kd\"}]");
  EXPECT_NE(teacher.find("a loss of scheme 'supervised' needs a teacher, and this stage has none"), std::string::npos)
      << teacher;
}

TEST_P(RunTest, NoRunFolderIsEverOverwritten) {
  const auto first = run();
  const auto second = run();
  EXPECT_NE(first.folder, second.folder);
  for (const char* file : {"recipe.toml", "resolved.toml", "run.json", "metrics.jsonl", "summary.csv", "log.txt"}) {
    EXPECT_TRUE(fs::exists(second.folder / file)) << file;
  }
  // The resolved recipe is a recipe: it gives the same plan, so the same stages.
  const auto resolved = kd::read_recipe((first.folder / "resolved.toml").string(), {}, kd::registry());
  kd::SilentProgress silence;
  const auto again = kd::run_experiment(
      resolved,
      {.data_root = "", .runs_folder = folder_ / "runs", .deterministic = GetParam() == "cuda", .arguments = {}},
      silence);
  EXPECT_TRUE(again.stages[0].reused);
  EXPECT_TRUE(again.stages[1].reused);
}

}  // namespace
