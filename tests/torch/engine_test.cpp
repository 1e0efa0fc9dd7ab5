// Tests of the engine: recipes trained for a few steps, compared with hand-written loops and with each other.
#include <gtest/gtest.h>
#include <torch/torch.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/experiment.h"
#include "engine/networks.h"
#include "engine/stored.h"
#include "kd/plugin.h"
#include "kd/testing.h"
#include "plugin/registry.h"
#include "record/records.h"
#include "record/safetensors.h"

namespace {

namespace fs = std::filesystem;

/// A loss that wants a feature which no network offers.
class GreedyLoss final : public kd::Loss {
 public:
  using Params = kd::NoParameters;
  explicit GreedyLoss(const Params&) {}
  at::Tensor operator()(const kd::LossInput& input) override { return input.student.logits.sum(); }
  kd::LossNeeds needs() const override { return {.teacher = false, .student_taps = {"poold"}, .teacher_taps = {}}; }
};

class Silence final : public kd::Progress {
 public:
  void say(const std::string&) override {}
  void warn(const std::string&) override {}
  void moment(const kd::Moment&) override {}
  void epoch(const kd::EpochSummary&) override {}
};

constexpr const char* kRecipe = R"(
device = "DEVICE"
[data]
type = "glyphs"
train = 256
test = 200
[train]
epochs = 2
batch_size = 64
threads = 1
optimizer = { type = "sgd", lr = 0.05, momentum = 0.9 }
[[stage]]
name = "teacher"
model = { type = "mlp", hidden = [32] }
[[stage]]
name = "student"
scheme = { type = "vanilla_kd" }
teachers = [{ stage = "teacher" }]
model = { type = "mlp", hidden = [8] }
)";

class EngineTest : public ::testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() { kd::load_plugins(); }

  EngineTest() : folder_(fs::temp_directory_path() / ("kdrun_engine_test_" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~EngineTest() override { fs::remove_all(folder_); }

  kd::ExperimentPlan plan(const std::vector<std::string>& overrides = {}, const std::string& text = kRecipe) {
    std::string recipe = text;
    recipe.replace(recipe.find("DEVICE"), 6, GetParam());
    std::ofstream(folder_ / "recipe.toml") << recipe;
    return kd::read_recipe((folder_ / "recipe.toml").string(), {.profile = "", .overrides = overrides}, kd::registry());
  }

  kd::RunResult run(const std::vector<std::string>& overrides = {}, const std::string& runs = "runs",
                    std::int64_t max_steps = 0, bool fresh = false) {
    Silence silence;
    return kd::run_experiment(
        plan(overrides),
        {.data_root = "",
         .runs_folder = folder_ / runs,
         .fresh = fresh,
         .deterministic = GetParam() == "cuda",  // equal bits are asked for, and a GPU gives them on demand only
         .max_steps = max_steps,
         .arguments = {}},
        silence);
  }

  static kd::TensorMap weights(const kd::StageResult& stage) {
    return kd::read_safetensors(stage.folder / "ckpt/last/model.safetensors");
  }

  static double largest_difference(const kd::TensorMap& a, const kd::TensorMap& b) {
    double largest = 0;
    for (const auto& [name, tensor] : a) largest = std::max(largest, (tensor - b.at(name)).abs().max().item<double>());
    return largest;
  }

  const fs::path folder_;
};

std::vector<std::string> device_names() {
  std::vector<std::string> names;
  for (const at::Device device : kd::testing::devices()) names.push_back(device.is_cuda() ? "cuda" : "cpu");
  return names;
}

INSTANTIATE_TEST_SUITE_P(Devices, EngineTest, ::testing::ValuesIn(device_names()),
                         [](const auto& item) { return item.param; });

TEST_P(EngineTest, TheSameRecipeGivesTheSameBits) {
  const auto first = run({}, "a");
  const auto second = run({}, "b");
  EXPECT_EQ(largest_difference(weights(first.stages[1]), weights(second.stages[1])), 0.0);
  const auto other = run({"seed=1"}, "c");
  EXPECT_GT(largest_difference(weights(first.stages[1]), weights(other.stages[1])), 1e-3);
}

TEST_P(EngineTest, AFinishedStageIsUsedAgainUntilSomethingThatDeterminesItChanges) {
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

TEST_P(EngineTest, AReusedStageWithDamagedWeightsIsTrainedAnew) {
  const auto first = run();
  const fs::path file = first.stages[0].folder / "ckpt/last/model.safetensors";
  const auto before = weights(first.stages[0]);
  fs::resize_file(file, fs::file_size(file) - 4);
  const auto second = run();
  EXPECT_FALSE(second.stages[0].reused);
  EXPECT_EQ(largest_difference(before, weights(second.stages[0])), 0.0);
}

TEST_P(EngineTest, TheTeacherCacheDoesNotChangeTheResult) {
  const auto cached = run({"train.precision=\"fp32\""}, "a");
  const auto computed = run({"train.teacher_cache=\"off\"", "train.precision=\"fp32\""}, "b");
  // Not bit for bit: matrix products of other sizes are summed in another order.
  EXPECT_LT(largest_difference(weights(cached.stages[1]), weights(computed.stages[1])), 1e-4);
}

constexpr const char* kTwoStudents = R"(
device = "DEVICE"
[data]
type = "glyphs"
train = 200
test = 50
[train]
epochs = 3
batch_size = 64
threads = 1
precision = "fp32"
optimizer = { type = "sgd", lr = 0.05, momentum = 0.9 }
augment = [{ type = "random_crop", padding = 1 }, { type = "horizontal_flip" }, { type = "normalize" }]
[[stage]]
name = "teacher"
model = { type = "resnet", depth = 8 }
[[stage]]
name = "first"
scheme = { type = "vanilla_kd" }
teachers = [{ stage = "teacher", temperature = 2 }]
model = { type = "lenet5" }
[[stage]]
name = "second"
scheme = { type = "vanilla_kd" }
teachers = [{ stage = "teacher", temperature = 2 }]
model = { type = "lenet5" }
)";

TEST_P(EngineTest, CachedAnswersToCropsAndFlipsDoNotChangeTheResult) {
  Silence silence;
  const auto run_with = [&](const std::string& cache, const std::string& runs) {
    return kd::run_experiment(
        plan({"train.teacher_cache=\"" + cache + "\""}, kTwoStudents),
        {.data_root = "", .runs_folder = folder_ / runs, .fresh = false, .max_steps = 0, .arguments = {}}, silence);
  };
  const auto cached = run_with("auto", "a");
  const auto computed = run_with("off", "b");
  for (const std::size_t student : {1U, 2U}) {
    // The last batch of an epoch is smaller where answers are computed, and its sums are ordered otherwise.
    EXPECT_LT(largest_difference(weights(cached.stages[student]), weights(computed.stages[student])), 1e-4);
  }
  EXPECT_GT(largest_difference(weights(cached.stages[1]), weights(cached.stages[2])), 1e-2);
}

TEST_P(EngineTest, TheSecondStudentFindsEveryAnswer) {
  kd::StagePlan stage = plan({}, kTwoStudents).stages[1];
  const at::Device device(GetParam() == "cuda" ? at::kCUDA : at::kCPU);
  const auto data = kd::load_training_data(stage.data, "", 0, device);
  const kd::AugmentationChain augmentations(stage.train.augment, data.info);
  kd::AnswerCaches caches(std::int64_t{1} << 30);
  const kd::AnswerShape shape{.samples = 200, .views = augmentations.views(), .classes = data.info.classes()};
  const auto cache = caches.find("teacher", shape, 4);
  kd::FrozenNetwork teacher("teacher", kd::place_model(stage.networks[0].model, data.info, {}, {device}), {device},
                            stage.teachers[0], {});
  teacher.use_cache(cache);
  const at::Tensor index = kd::epoch_order(200, kd::RandomKey{}.with(1));
  const kd::RandomKey epoch_key = kd::RandomKey{}.with("views").with(7);
  const at::Tensor numbers = augmentations.view_numbers(index, epoch_key);
  teacher.fill_cache(data.train, augmentations, index.narrow(0, 0, 130), epoch_key, 64);
  EXPECT_EQ(cache->take_missing(index.narrow(0, 0, 130), numbers.narrow(0, 0, 130)).size(0), 0);
  teacher.fill_cache(data.train, augmentations, index, epoch_key, 64);
  EXPECT_EQ(cache->take_missing(index, numbers).size(0), 0);

  kd::Batch batch = kd::cut_batch(data.train, index.narrow(0, 100, 50).to(device));
  augmentations.apply_in_training(batch, data.train, epoch_key);
  const at::Tensor answers = teacher.outputs(batch, {}).logits;
  EXPECT_LT((answers - teacher.forward(batch.images, {}).logits).abs().max().item<double>(), 1e-4);
  EXPECT_EQ(caches.find("teacher", shape, 4), cache);
}

TEST_P(EngineTest, AnAnswerDoesNotDependOnWhichOthersWereMissing) {
  kd::StagePlan stage = plan({}, kTwoStudents).stages[1];
  const at::Device device(GetParam() == "cuda" ? at::kCUDA : at::kCPU);
  const auto data = kd::load_training_data(stage.data, "", 0, device);
  const kd::AugmentationChain augmentations(stage.train.augment, data.info);
  const kd::AnswerShape shape{.samples = 200, .views = augmentations.views(), .classes = data.info.classes()};
  const at::Tensor index = at::arange(200, at::TensorOptions().dtype(at::kLong));
  const kd::RandomKey epoch_key = kd::RandomKey{}.with("views");
  std::vector<at::Tensor> answers;
  for (const at::Tensor& order : {index, index.flip(0), kd::epoch_order(200, epoch_key).narrow(0, 0, 77)}) {
    kd::FrozenNetwork teacher("teacher", kd::place_model(stage.networks[0].model, data.info, {}, {device}), {device},
                              stage.teachers[0], {});
    const auto cache = std::make_shared<kd::AnswerCache>(shape);
    teacher.use_cache(cache);
    teacher.fill_cache(data.train, augmentations, order, epoch_key, 64);
    teacher.fill_cache(data.train, augmentations, index, epoch_key, 64);
    const at::Tensor numbers = augmentations.view_numbers(index, epoch_key);
    answers.push_back(cache->get(index.to(device), numbers.to(device)));
  }
  EXPECT_TRUE(answers[0].equal(answers[1]));
  EXPECT_TRUE(answers[0].equal(answers[2]));
}

TEST(AnswerCaches, MakesRoomByDroppingWhatNoStageUses) {
  const kd::AnswerShape shape{.samples = 10, .views = 2, .classes = 4};  // 20 · (4 · 4 + 1) = 340 bytes
  kd::AnswerCaches caches(700);
  const auto first = caches.find("first", shape, 4);
  EXPECT_NE(caches.find("second", shape, 4), nullptr);  // not kept by anyone
  const auto third = caches.find("third", shape, 4);    // in its place
  ASSERT_NE(third, nullptr);
  EXPECT_EQ(caches.find("first", shape, 4), first);
  EXPECT_EQ(caches.find("fourth", shape, 4), nullptr);
  EXPECT_EQ(caches.find("large", {.samples = 100, .views = 2, .classes = 4}, 4), nullptr);
}

TEST_P(EngineTest, OneStageEqualsAHandWrittenLoop) {
  const auto result = run({"train.precision=\"fp32\"", "stage.teacher.optimizer.weight_decay=0.01",
                           "stage.teacher.optimizer.nesterov=true"});
  const kd::ExperimentPlan same = plan();
  const at::Device device(GetParam() == "cuda" ? at::kCUDA : at::kCPU);
  const auto data = kd::load_training_data(same.stages[0].data, "", 0, device);
  const kd::RandomKey key = kd::RandomKey{0}.with("teacher");
  const auto model =
      kd::place_model(same.stages[0].networks[0].model, data.info, key.with("model"), {device, at::kFloat, false});
  const auto module = model->module();
  torch::optim::SGD optimizer(module->parameters(),
                              torch::optim::SGDOptions(0.05).momentum(0.9).nesterov(true).weight_decay(0.01));
  for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
    const at::Tensor order = kd::epoch_order(256, key.with(epoch)).to(device);
    for (std::int64_t begin = 0; begin < 256; begin += 64) {
      const at::Tensor index = order.narrow(0, begin, 64);
      const at::Tensor images = data.train.images.index_select(0, index).to(at::kFloat) / 255;
      optimizer.zero_grad();
      torch::nn::functional::cross_entropy(model->forward(images, {}), data.train.labels.index_select(0, index))
          .backward();
      optimizer.step();
    }
  }
  EXPECT_LT(largest_difference(weights(result.stages[0]),
                               [&] {
                                 kd::TensorMap state;
                                 for (const auto& [name, tensor] : kd::state_dict(*model)) state[name] = tensor.cpu();
                                 return state;
                               }()),
            1e-5);
}

TEST_P(EngineTest, AccumulationEqualsALargerBatch) {
  const auto large = run({"train.precision=\"fp32\""}, "a");
  const auto accumulated = run({"train.precision=\"fp32\"", "train.batch_size=32", "train.accumulate=2"}, "b");
  EXPECT_LT(largest_difference(weights(large.stages[0]), weights(accumulated.stages[0])), 1e-5);
}

TEST_P(EngineTest, AnAccumulationThatTheLastBatchLeavesOpenIsStepped) {
  const auto open = run({"train.epochs=1", "train.accumulate=8"}, "open");
  const auto whole = run({"train.epochs=1", "train.batch_size=256"}, "whole");
  EXPECT_LT(largest_difference(weights(open.stages[0]), weights(whole.stages[0])), 1e-5);
}

TEST_P(EngineTest, AShortLastBatchWeighsItsRows) {
  // 60 images as 50 and 10 are one batch of 60, also where some have no label.
  for (const std::string unlabelled : {"0.0", "0.5"}) {
    const std::vector<std::string> common = {"data.train=60", "data.unlabelled=" + unlabelled, "train.epochs=2",
                                             "train.precision=\"fp32\""};
    auto parts = common, whole = common;
    parts.insert(parts.end(), {"train.batch_size=50", "train.accumulate=2"});
    whole.insert(whole.end(), {"train.batch_size=60"});
    const auto of_parts = run(parts, "parts" + unlabelled), of_whole = run(whole, "whole" + unlabelled);
    for (const std::size_t stage : {0U, 1U})
      EXPECT_LT(largest_difference(weights(of_parts.stages[stage]), weights(of_whole.stages[stage])), 1e-5)
          << unlabelled;
  }
}

TEST_P(EngineTest, TimeIsCountedInBatchesWhateverMakesAnUpdate) {
  // 4 batches an epoch: with three to an update, milestones and cosine come in the epochs that they name.
  for (const std::string schedule : {"{type=\"multistep\", milestones=[2, 3], gamma=0.5}",
                                     "{type=\"cosine\", per=\"epoch\"}", "{type=\"warmup\", epochs=2}"}) {
    const auto rates_with = [&](const std::string& accumulate) {
      const auto result =
          run({"train.epochs=4", "train.schedule=" + schedule, "train.accumulate=" + accumulate}, "runs" + accumulate);
      std::vector<double> rates;
      for (const kd::Record& record : kd::read_records(result.folder / "metrics.jsonl")) {
        if (record.stage == "teacher" && record.name == "learning_rate") rates.push_back(record.value);
      }
      return rates;
    };
    const auto plain = rates_with("1"), four = rates_with("4"), three = rates_with("3"), many = rates_with("100");
    ASSERT_EQ(plain.size(), 4U);
    if (schedule.find("multistep") != std::string::npos) {
      EXPECT_EQ(plain, (std::vector<double>{0.05, 0.05, 0.025, 0.0125}));
      EXPECT_EQ(four, plain);
      EXPECT_EQ(many, (std::vector<double>(4, 0.05))) << "one update, which began in the first epoch";
    }
    // An update has the rate of its first batch, which lies less than one update back.
    for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(three[i], plain[i], 0.02) << schedule;
  }
}

TEST_P(EngineTest, ATeacherThatSawOtherDataIsRefusedBeforeTraining) {
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

TEST_P(EngineTest, WhatCanBeKnownIsSaidBeforeTheFirstStageIsTrained) {
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

TEST_P(EngineTest, AnAverageKeepsUpWithAShortTraining) {
  // With a decay of 0.9999 and no warm-up, 40 updates would leave 99.6 % of the first, random weights.
  const auto plain = run({"train.epochs=10"}, "a");
  const auto averaged = run({"train.epochs=10", "train.ema=0.9999"}, "b");
  EXPECT_GT(averaged.stages[0].networks[0].test.top1, plain.stages[0].networks[0].test.top1 - 0.1);
}

TEST_P(EngineTest, TheAverageHoldsTheStatisticsOfBatchNorm) {
  const std::vector<std::string> common = {"stage.teacher.model={type=\"resnet\", depth=8}",
                                           "train.precision=\"fp32\""};
  auto with_average = common;
  with_average.emplace_back("train.ema=0.5");
  const auto start = weights(run({common[0], common[1], "train.optimizer.lr=1e-30"}, "a", 1).stages[0]);
  const auto averaged = weights(run(with_average, "b", 1).stages[0]);
  const at::Tensor& moved = start.at("bn1.running_mean");  // after one pass from zeros
  EXPECT_LT((averaged.at("bn1.running_mean") - 0.9 * moved).abs().max().item<double>(), 1e-6);
  EXPECT_GT(moved.abs().max().item<double>(), 1e-4);
  EXPECT_EQ(averaged.at("bn1.num_batches_tracked").item<std::int64_t>(), 1);
}

/// An adapter with a parameter that no loss reaches, and a buffer that is its memory.
struct Memory : torch::nn::Module {
  Memory() {
    unreached = register_parameter("unreached", torch::ones({2}));
    reached = register_parameter("reached", torch::ones({2}));
    bank = register_buffer("bank", torch::zeros({3}));
  }
  at::Tensor unreached, reached, bank;
};

TEST_P(EngineTest, TheMemoryOfALossAndOpenGradientsSurviveACheckpoint) {
  const kd::Placement placement{at::Device(GetParam()), at::kFloat, false};
  const kd::ExperimentPlan settings = plan({"train.accumulate=2"});
  const kd::StagePlan& stage = settings.stages[0];
  const kd::DataInfo info{1, 4, 4, {"a", "b"}, {0}, {1}};
  struct Trained {
    std::shared_ptr<Memory> memory = std::make_shared<Memory>();
    std::unique_ptr<kd::TrainedNetwork> network;
  };
  const auto make = [&] {
    Trained made;
    made.network = std::make_unique<kd::TrainedNetwork>(
        "student", kd::place_model(stage.networks[0].model, info, kd::RandomKey{}.with(1), placement), placement,
        kd::RandomKey{}.with(2));
    made.network->add_module(made.memory);
    made.network->prepare(stage.train.optimizer, {}, stage.train);
    return made;
  };
  const auto step = [&](Trained& trained, bool last) {
    const at::Tensor images = kd::testing::normal({8, 1, 4, 4}, 3).to(placement.device);
    const at::Tensor logits = trained.network->forward(images, {}).logits;
    trained.memory->bank.add_(1);
    trained.network->update({{"loss", logits.square().mean() * trained.memory->reached.sum(), 1}},
                            {.share = 0.5, .labelled_share = 0.5, .last = last}, {});
  };
  Trained first = make();
  step(first, false);
  Trained second = make();
  kd::TensorMap training;
  for (const auto& [name, tensor] : first.network->training_state()) training[name] = tensor.cpu().clone();
  second.network->restore(first.network->result_state(), training);
  step(first, true);
  step(second, true);
  EXPECT_EQ(second.memory->bank[0].item<double>(), 2);
  EXPECT_EQ(largest_difference(first.network->result_state(), second.network->result_state()), 0);
  EXPECT_TRUE(at::equal(first.memory->reached, second.memory->reached));
  EXPECT_NE(first.memory->reached[0].item<double>(), 1);
}

TEST_P(EngineTest, ClippingBoundsTheStep) {
  const std::vector<std::string> common = {"train.optimizer={type=\"sgd\", lr=1e-30, momentum=0.0}"};
  const auto start = run(common, "a", 1);
  const auto moved =
      run({"train.optimizer={type=\"sgd\", lr=1.0, momentum=0.0}", "train.max_gradient_norm=0.01"}, "b", 1);
  double square = 0;
  const kd::TensorMap before = weights(start.stages[0]);
  for (const auto& [name, tensor] : weights(moved.stages[0]))
    square += (tensor - before.at(name)).square().sum().item<double>();
  EXPECT_NEAR(std::sqrt(square), 0.01, 1e-4);
}

TEST_P(EngineTest, TheAverageFollowsItsFormulaAndStartsQuickly) {
  // The first update leaves min(0.75, 1/10) of the first weights, where 0.75 would be the decay of an old average.
  const std::string sgd = "train.optimizer={type=\"sgd\", lr=1.0, momentum=0.0}";
  const auto start = weights(run({"train.optimizer={type=\"sgd\", lr=1e-30, momentum=0.0}"}, "a", 1).stages[0]);
  const auto moved = weights(run({sgd}, "b", 1).stages[0]);
  const auto averaged = weights(run({sgd, "train.ema=0.75"}, "c", 1).stages[0]);
  for (const auto& [name, tensor] : averaged) {
    EXPECT_LT((tensor - (0.1 * start.at(name) + 0.9 * moved.at(name))).abs().max().item<double>(), 1e-6) << name;
  }
}

TEST_P(EngineTest, ALossThatIsNotFiniteEndsTheRunWithItsOwnCode) {
  try {
    run({"train.optimizer.lr=1e30"});
    FAIL() << "the run went on";
  } catch (const kd::Error& error) {
    EXPECT_EQ(error.code(), kd::ExitCode::kNotFinite);
    EXPECT_NE(std::string(error.what()).find("stage 'teacher', network 'model', epoch"), std::string::npos)
        << error.what();
  }
}

TEST_P(EngineTest, EveryPrecisionAndMemoryOrderLearns) {
  for (const char* precision : {"bf16", "fp16"}) {
    const auto result = run({std::string("train.precision=\"") + precision + "\"", "train.epochs=4",
                             "stage.teacher.model={type=\"lenet5\"}", "stage.student.model={type=\"lenet5\"}"},
                            precision);
    EXPECT_EQ(result.stages[1].precision, precision);
    const auto records = kd::read_records(result.folder / "metrics.jsonl");
    const auto loss_of = [&](std::int64_t epoch) {
      for (const kd::Record& record : records) {
        if (record.stage == "teacher" && record.name == "loss" && record.epoch == epoch) return record.value;
      }
      return std::nan("");
    };
    EXPECT_LT(loss_of(4), loss_of(1)) << precision;
  }
}

TEST_P(EngineTest, ValidationChoosesTheEpoch) {
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

TEST_P(EngineTest, EarlyStoppingStops) {
  const auto result = run({"train.optimizer.lr=1e-30", "train.epochs=10", "train.early_stopping=2"});
  EXPECT_EQ(result.stages[0].epochs, 3);  // the first evaluation is the lowest, the next two are no lower
}

TEST_P(EngineTest, AScheduleDrivesTheLearningRate) {
  const auto result = run({"train.schedule={type=\"multistep\", milestones=[1], gamma=0.5}"});
  std::vector<double> rates;
  for (const kd::Record& record : kd::read_records(result.folder / "metrics.jsonl")) {
    if (record.stage == "teacher" && record.name == "learning_rate") rates.push_back(record.value);
  }
  EXPECT_EQ(rates, (std::vector<double>{0.05, 0.025}));  // of the last update of each epoch
}

TEST_P(EngineTest, EvaluationOfAStoredStageGivesItsResultAgain) {
  const auto result = run();
  const auto again = kd::evaluate_stage(result.stages[1].folder, "last", "", "",
                                        at::Device(GetParam() == "cuda" ? at::kCUDA : at::kCPU));
  EXPECT_EQ(again[0].test.top1, result.stages[1].networks[0].test.top1);
  EXPECT_NEAR(again[0].test.nll, result.stages[1].networks[0].test.nll, 1e-6);
  EXPECT_NEAR(again[0].test.calibration.nll, again[0].test.nll, 1e-5);
  EXPECT_NEAR(again[0].test.calibration.accuracy, again[0].test.top1, 1e-9);
}

TEST_P(EngineTest, ATeacherCanComeFromAFileOrAnotherRun) {
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

TEST_P(EngineTest, ChecksNameWhatALossLacks) {
  static const bool registered = [] {
    static constinit kd::detail::Entry entry{"loss",
                                             "greedy",
                                             "wants a feature that nobody offers",
                                             __FILE__,
                                             __LINE__,
                                             &kd::detail::Maker<kd::Loss, GreedyLoss>::describe,
                                             &kd::detail::Maker<kd::Loss, GreedyLoss>::roles,
                                             &kd::detail::Maker<kd::Loss, GreedyLoss>::create,
                                             nullptr};
    kd::registry().add(&entry, "engine_test");
    return true;
  }();
  ASSERT_TRUE(registered);
  const auto problems_of = [&](const std::string& losses) -> std::string {
    Silence silence;
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

TEST_P(EngineTest, NoRunFolderIsEverOverwritten) {
  const auto first = run();
  const auto second = run();
  EXPECT_NE(first.folder, second.folder);
  for (const char* file : {"recipe.toml", "resolved.toml", "run.json", "metrics.jsonl", "summary.csv", "log.txt"}) {
    EXPECT_TRUE(fs::exists(second.folder / file)) << file;
  }
  // The resolved recipe is a recipe: it gives the same plan, so the same stages.
  const auto resolved = kd::read_recipe((first.folder / "resolved.toml").string(), {}, kd::registry());
  Silence silence;
  const auto again = kd::run_experiment(
      resolved,
      {.data_root = "", .runs_folder = folder_ / "runs", .deterministic = GetParam() == "cuda", .arguments = {}},
      silence);
  EXPECT_TRUE(again.stages[0].reused);
  EXPECT_TRUE(again.stages[1].reused);
}

}  // namespace
