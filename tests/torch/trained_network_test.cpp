// Tests of updates: a hand-written loop beside them, accumulation, averages, clipping, precisions.
#include "engine/trained_network.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/placement.h"
#include "engine/stage_parts.h"
#include "engine/state_dict.h"
#include "engine_fixture.h"
#include "plugin/registry.h"
#include "record/records.h"

namespace {

class UpdateTest : public engine_tests::EngineTest {};

INSTANTIATE_TEST_SUITE_P(Devices, UpdateTest, ::testing::ValuesIn(engine_tests::device_names()),
                         [](const auto& item) { return item.param; });

TEST_P(UpdateTest, OneStageEqualsAHandWrittenLoop) {
  const auto result = run({"train.precision=\"fp32\"", "stage.teacher.optimizer.weight_decay=0.01",
                           "stage.teacher.optimizer.nesterov=true"});
  const kd::ExperimentPlan same = plan();
  const at::Device device(GetParam() == "cuda" ? at::kCUDA : at::kCPU);
  const auto data = kd::load_training_data({.data = same.stages[0].data, .device = device});
  const kd::RandomKey key = kd::RandomKey{0}.with("teacher");
  const auto model =
      kd::place_model(same.stages[0].networks[0].model, data.info, key.with("model"), {device, at::kFloat, false});
  const auto module = model->module();
  torch::optim::SGD optimizer(module->parameters(),
                              torch::optim::SGDOptions(0.05).momentum(0.9).nesterov(true).weight_decay(0.01));
  for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
    const at::Tensor order = kd::epoch_order({.own = 256}, 256, key.with(epoch)).to(device);
    for (std::int64_t begin = 0; begin < 256; begin += 64) {
      const at::Tensor index = order.narrow(0, begin, 64);
      const at::Tensor images = data.train.images({.host = {}, .device = index}, std::nullopt).to(at::kFloat) / 255;
      optimizer.zero_grad();
      torch::nn::functional::cross_entropy(model->forward(images, {}), data.train.labels().index_select(0, index))
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

TEST_P(UpdateTest, AccumulationEqualsALargerBatch) {
  const auto large = run({"train.precision=\"fp32\""}, "a");
  const auto accumulated = run({"train.precision=\"fp32\"", "train.batch_size=32", "train.accumulate=2"}, "b");
  EXPECT_LT(largest_difference(weights(large.stages[0]), weights(accumulated.stages[0])), 1e-5);
}

TEST_P(UpdateTest, AnAccumulationThatTheLastBatchLeavesOpenIsStepped) {
  const auto open = run({"train.epochs=1", "train.accumulate=8"}, "open");
  const auto whole = run({"train.epochs=1", "train.batch_size=256"}, "whole");
  EXPECT_LT(largest_difference(weights(open.stages[0]), weights(whole.stages[0])), 1e-5);
}

TEST_P(UpdateTest, AShortLastBatchWeighsItsRows) {
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

TEST_P(UpdateTest, TimeIsCountedInBatchesWhateverMakesAnUpdate) {
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

TEST_P(UpdateTest, AnAverageKeepsUpWithAShortTraining) {
  // With a decay of 0.9999 and no warm-up, 40 updates would leave 99.6 % of the first, random weights.
  const auto plain = run({"train.epochs=10"}, "a");
  const auto averaged = run({"train.epochs=10", "train.ema=0.9999"}, "b");
  EXPECT_GT(averaged.stages[0].networks[0].test.top1, plain.stages[0].networks[0].test.top1 - 0.1);
}

TEST_P(UpdateTest, TheAverageHoldsTheStatisticsOfBatchNorm) {
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

TEST_P(UpdateTest, TheMemoryOfALossAndOpenGradientsSurviveACheckpoint) {
  const kd::Placement placement{at::Device(GetParam()), at::kFloat, false};
  const kd::ExperimentPlan settings = plan({"train.accumulate=2"});
  const kd::StagePlan& stage = settings.stages[0];
  const kd::DataInfo info{1, 4, 4, {"a", "b"}, {0}, {1}};
  // One that adds all gradients up, and one that keeps those apart that teachers taught.
  const std::vector<kd::ComponentSpec> optimizers{stage.train.optimizer,
                                                  kd::parse_component("optimizer", {}, "{ type = 'dot', lr = 0.05 }")};
  struct Trained {
    std::shared_ptr<Memory> memory = std::make_shared<Memory>();
    std::unique_ptr<kd::TrainedNetwork> network;
  };
  const auto make = [&](const kd::ComponentSpec& optimizer) {
    Trained made;
    made.network = std::make_unique<kd::TrainedNetwork>(
        "student", kd::place_model(stage.networks[0].model, info, kd::RandomKey{}.with(1), placement), placement,
        kd::RandomKey{}.with(2));
    made.network->add_adapter({"memory", made.memory});
    made.network->prepare(optimizer, {}, stage.train, {});
    return made;
  };
  const auto step = [&](Trained& trained, bool last) {
    trained.network->begin_step({});
    const at::Tensor images = kd::testing::normal({8, 1, 4, 4}, 3).to(placement.device);
    const at::Tensor logits = trained.network->forward(images, {}).logits;
    trained.memory->bank.add_(1);
    trained.network->backward({{"loss", logits.square().mean() * trained.memory->reached.sum(), 1},
                               {.name = "taught", .value = logits.abs().mean(), .from_teachers = true}},
                              {.share = 0.5, .labelled_share = 0.5, .last = last});
    if (last) trained.network->step();
  };
  for (const kd::ComponentSpec& optimizer : optimizers) {
    SCOPED_TRACE(optimizer.type);
    Trained first = make(optimizer);
    step(first, false);
    Trained second = make(optimizer);
    kd::TensorMap training;
    for (const auto& [name, tensor] : first.network->training_state()) training[name] = tensor.cpu().clone();
    second.network->restore(first.network->result(), training);
    step(first, true);
    step(second, true);
    EXPECT_EQ(second.memory->bank[0].item<double>(), 2);
    EXPECT_EQ(largest_difference(first.network->result().weights, second.network->result().weights), 0);
    EXPECT_TRUE(at::equal(first.memory->reached, second.memory->reached));
    EXPECT_NE(first.memory->reached[0].item<double>(), 1);
  }
}

TEST_P(UpdateTest, GradientsThatTeachersTaughtHaveAMomentumOfTheirOwn) {
  // Three updates of two batches each by "dot", and the same written by hand.
  const kd::Placement placement{at::Device(GetParam()), at::kFloat, false};
  const kd::ExperimentPlan settings = plan({"train.accumulate=2"});
  const kd::StagePlan& stage = settings.stages[0];
  const kd::DataInfo info{1, 4, 4, {"a", "b"}, {0}, {1}};
  const auto make = [&] { return kd::place_model(stage.networks[0].model, info, kd::RandomKey{}.with(1), placement); };
  const auto images = [&](int batch) {
    return kd::testing::normal({8, 1, 4, 4}, 10 + static_cast<std::uint64_t>(batch)).to(placement.device);
  };
  const auto task = [](const at::Tensor& logits) { return logits.square().mean(); };
  const auto taught = [](const at::Tensor& logits) { return (logits - 1).abs().mean(); };

  kd::TrainedNetwork network("student", make(), placement, kd::RandomKey{}.with(2));
  network.prepare(kd::parse_component("optimizer", {},
                                      "{ type = 'dot', lr = 0.1, momentum = 0.7, delta = 0.2, weight_decay = 0.01 }"),
                  {}, stage.train, {});
  for (int batch = 0; batch < 6; ++batch) {
    network.begin_step({});
    const at::Tensor logits = network.forward(images(batch), {}).logits;
    const bool last = batch % 2 == 1;
    network.backward({{.name = "task", .value = task(logits), .weight = 2},
                      {.name = "taught", .value = taught(logits), .weight = 3, .from_teachers = true}},
                     {.share = 0.5, .labelled_share = 0.5, .last = last});
    if (last) network.step();
  }

  const auto model = make();
  const std::vector<at::Tensor> parameters = model->module()->parameters();
  std::vector<at::Tensor> of_task, of_teachers;
  for (const at::Tensor& parameter : parameters) {
    of_task.push_back(at::zeros_like(parameter));
    of_teachers.push_back(at::zeros_like(parameter));
  }
  for (int update = 0; update < 3; ++update) {
    const at::Tensor first = model->forward(images(2 * update), {}),
                     second = model->forward(images(2 * update + 1), {});
    const at::Tensor task_loss = task(first) + task(second);
    const at::Tensor taught_loss = (taught(first) + taught(second)) * 1.5;
    const auto task_gradients = torch::autograd::grad({task_loss}, parameters, {}, /*retain_graph=*/true);
    const auto taught_gradients = torch::autograd::grad({taught_loss}, parameters);
    const at::NoGradGuard no_gradient;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      of_task[i] = of_task[i] * 0.5 + task_gradients[i] + parameters[i] * 0.01;
      of_teachers[i] = of_teachers[i] * 0.9 + taught_gradients[i];
      at::Tensor(parameters[i]).sub_((of_task[i] + of_teachers[i]) * 0.1);
    }
  }
  const kd::TensorMap trained = network.result().weights;
  for (const auto& [name, tensor] : kd::state_dict(*model))
    EXPECT_LT((trained.at(name).cpu() - tensor.cpu()).abs().max().item<double>(), 1e-5) << name;
}

TEST_P(UpdateTest, ClippingBoundsTheStep) {
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

TEST_P(UpdateTest, TheAverageFollowsItsFormulaAndStartsQuickly) {
  // The first update leaves min(0.75, 1/10) of the first weights, where 0.75 would be the decay of an old average.
  const std::string sgd = "train.optimizer={type=\"sgd\", lr=1.0, momentum=0.0}";
  const auto start = weights(run({"train.optimizer={type=\"sgd\", lr=1e-30, momentum=0.0}"}, "a", 1).stages[0]);
  const auto moved = weights(run({sgd}, "b", 1).stages[0]);
  const auto averaged = weights(run({sgd, "train.ema=0.75"}, "c", 1).stages[0]);
  for (const auto& [name, tensor] : averaged) {
    EXPECT_LT((tensor - (0.1 * start.at(name) + 0.9 * moved.at(name))).abs().max().item<double>(), 1e-6) << name;
  }
}

TEST_P(UpdateTest, EveryPrecisionAndMemoryOrderLearns) {
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

TEST_P(UpdateTest, AScheduleDrivesTheLearningRate) {
  const auto result = run({"train.schedule={type=\"multistep\", milestones=[1], gamma=0.5}"});
  std::vector<double> rates;
  for (const kd::Record& record : kd::read_records(result.folder / "metrics.jsonl")) {
    if (record.stage == "teacher" && record.name == "learning_rate") rates.push_back(record.value);
  }
  EXPECT_EQ(rates, (std::vector<double>{0.05, 0.025}));  // of the last update of each epoch
}

}  // namespace
