// Tests of processes that train together: what a group by Gloo exchanges, and that two processes train the network that
// one would. The program starts itself twice for the two processes.
#include "kd/group.h"

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <torch/torch.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/c10d_group.h"
#include "engine/exchange.h"
#include "engine/stop.h"
#include "engine/sync_batch_norm.h"
#include "engine_fixture.h"
#include "record/records.h"

extern char** environ;

namespace {

namespace fs = std::filesystem;

class GroupTest : public engine_tests::EngineTest {
 protected:
  kd::RunResult train(kd::Group& group, const fs::path& runs, const std::vector<std::string>& overrides,
                      kd::Progress& progress) {
    return kd::run_experiment(plan(overrides), {.data_root = "", .runs_folder = runs, .arguments = {}, .group = &group},
                              progress);
  }

  /// The task of that name in two processes; whether both ended well.
  bool run_pair(const std::string& task, const fs::path& runs) {
    static int pairs = 0;
    const fs::path meeting = folder_ / ("meeting_" + std::to_string(++pairs));
    std::vector<pid_t> children;
    for (const char* rank : {"0", "1"}) {
      ::setenv("KD_GROUP_RANK", rank, 1);
      ::setenv("KD_GROUP_TASK", task.c_str(), 1);
      ::setenv("KD_GROUP_MEETING", meeting.c_str(), 1);
      ::setenv("KD_GROUP_RUNS", runs.c_str(), 1);
      const std::string self = fs::read_symlink("/proc/self/exe");
      std::string filter = "--gtest_filter=Devices/GroupTest.Worker/" + GetParam();
      std::vector<char*> arguments{const_cast<char*>(self.c_str()), filter.data(), nullptr};
      pid_t child = 0;
      EXPECT_EQ(::posix_spawn(&child, self.c_str(), nullptr, nullptr, arguments.data(), environ), 0);
      children.push_back(child);
    }
    ::unsetenv("KD_GROUP_RANK");
    bool well = true;
    for (const pid_t child : children) {
      int status = 0;
      ::waitpid(child, &status, 0);
      well &= WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return well;
  }
};
INSTANTIATE_TEST_SUITE_P(Devices, GroupTest, ::testing::Values("cpu"), [](const auto& item) { return item.param; });

const std::vector<std::string> kUneven = {"train.batch_size=50", "train.accumulate=2", "train.precision=\"fp32\"",
                                          "data.unlabelled=0.3", "train.checkpoint_seconds=0"};

/// The stages of a run that were trained in this process, and not taken or waited for.
class CountsStages final : public kd::Progress {
 public:
  void say(const std::string& line) override {
    EXPECT_EQ(line.find("waiting"), std::string::npos) << line;
    EXPECT_EQ(line.find("reused"), std::string::npos) << line;
  }
  void warn(const std::string&) override {}
  void step(const kd::StepProgress&) override {}
  void epoch(const kd::EpochSummary&) override { ++epochs; }

  int epochs = 0;
};

/// Asks its own process to stop after some steps.
class StopsAfter final : public kd::Progress {
 public:
  explicit StopsAfter(int steps) : steps_(steps) {}
  void say(const std::string&) override {}
  void warn(const std::string&) override {}
  void step(const kd::StepProgress&) override {
    if (--steps_ == 0) std::raise(SIGTERM);
  }
  void epoch(const kd::EpochSummary&) override {}

 private:
  int steps_;
};

void exchange(kd::Group& group) {
  const auto rank = static_cast<double>(group.rank());
  const at::Tensor floats = torch::full({2, 3}, 1 + rank);
  const at::Tensor counts = torch::full({4}, 10 + group.rank(), at::kLong);
  const at::Tensor turned = torch::arange(6, at::kFloat).view({2, 3}).t().mul(1 + rank);  // not contiguous
  group.sum({floats, counts, turned});
  EXPECT_TRUE(floats.equal(torch::full({2, 3}, 3.0)));
  EXPECT_TRUE(counts.equal(torch::full({4}, 21, at::kLong)));
  EXPECT_TRUE(turned.equal(torch::arange(6, at::kFloat).view({2, 3}).t() * 3));
  // Small numbers go with the next sum of their kind, or by themselves when they are wanted.
  const at::Tensor votes = torch::ones({2});
  kd::sum_with_next(group, votes);
  group.sum({counts});
  EXPECT_TRUE(votes.equal(torch::ones({2})));
  group.sum({floats});
  EXPECT_TRUE(votes.equal(torch::full({2}, 2.0)));
  EXPECT_TRUE(floats.equal(torch::full({2, 3}, 6.0)));
  kd::settle(group);
  EXPECT_TRUE(votes.equal(torch::full({2}, 2.0)));
  kd::sum_with_next(group, votes);
  kd::settle(group);
  EXPECT_TRUE(votes.equal(torch::full({2}, 4.0)));
  const at::Tensor own = torch::full({3}, rank);
  group.broadcast({own});
  EXPECT_TRUE(own.equal(torch::zeros({3})));
  const at::Tensor rows = torch::full({1 + group.rank(), 2}, rank);
  EXPECT_TRUE(group.gather(rows).equal(torch::tensor({{0., 0.}, {1., 1.}, {1., 1.}}, at::kFloat)));
  // The objective is Σ over processes of (1 + rank) · Σ weight · row, so the gradient of a row is 3 · its weight.
  const at::Tensor features = torch::full({1 + group.rank(), 2}, 5.0).requires_grad_();
  const at::Tensor weight = torch::tensor({{1., 2.}, {3., 4.}, {5., 6.}}, at::kFloat);
  ((1 + rank) * (kd::gather_with_gradient(group, features) * weight).sum()).backward();
  EXPECT_TRUE(features.grad().equal(3 * (group.is_first() ? weight.narrow(0, 0, 1) : weight.narrow(0, 1, 2))));
}

void exchange_texts_and_tensors(kd::Group& group) {
  const std::string own = group.is_first() ? std::string("a\0b", 3) : "";
  EXPECT_EQ(kd::gather_texts(group, own), (std::vector<std::string>{std::string("a\0b", 3), ""}));
  kd::TensorMap tensors;
  if (!group.is_first()) tensors["second"] = torch::full({2, 3}, 7, at::kLong);
  tensors["of " + std::to_string(group.rank())] = torch::full({1}, group.rank(), at::kHalf);
  const kd::TensorMap all = kd::gather_tensors(group, tensors);
  ASSERT_EQ(all.size(), 3U);
  EXPECT_TRUE(all.at("second").equal(torch::full({2, 3}, 7, at::kLong)));
  EXPECT_TRUE(all.at("of 1").equal(torch::full({1}, 1, at::kHalf)));
}

/// What a batch norm of `channels` makes of images, and its gradients for Σ weight · result.
struct Normalised {
  Normalised(const at::Tensor& images, const at::Tensor& weight, torch::nn::BatchNorm2d norm) {
    const at::Tensor input = images.clone().requires_grad_();
    result = norm(input);
    (result.to(at::kFloat) * weight).sum().backward();
    by_input = input.grad();
    by_parameters = {norm->weight.grad(), norm->bias.grad()};
    statistics = {norm->running_mean, norm->running_var};
  }

  at::Tensor result, by_input;
  std::vector<at::Tensor> by_parameters, statistics;
};

torch::nn::BatchNorm2d make_norm(bool plain = false) {
  torch::nn::BatchNorm2d norm(torch::nn::BatchNorm2dOptions(3).affine(!plain));
  if (!plain) {
    const torch::NoGradGuard no_grad;
    norm->weight.copy_(torch::tensor({0.5, 1.0, 2.0}));
    norm->bias.copy_(torch::tensor({-1.0, 0.0, 3.0}));
  }
  return norm;
}

/// Two rows in the first process and three in the second have the statistics, and the gradients, of five in one.
void normalise_together(kd::Group& group) {
  const at::Tensor place = torch::arange(5 * 3 * 4 * 2, at::kFloat).view({5, 3, 4, 2});
  const at::Tensor images = (place * 0.7).sin() * 3 + place * 0.2, weight = (place * 0.3).cos();
  const auto part = [&](const at::Tensor& all) { return group.is_first() ? all.narrow(0, 0, 2) : all.narrow(0, 2, 3); };
  const Normalised whole(images, weight, make_norm());
  const Normalised apart(part(images), part(weight), make_norm());
  EXPECT_FALSE(torch::allclose(apart.result, part(whole.result), 1e-3, 1e-3)) << "statistics of parts are no others";

  std::optional<kd::SyncBatchNorm> sync(std::in_place, &group);
  const Normalised own(part(images), part(weight), make_norm());
  EXPECT_TRUE(torch::allclose(own.result, part(whole.result), 1e-5, 1e-5));
  EXPECT_TRUE(torch::allclose(own.by_input, part(whole.by_input), 1e-4, 1e-5));
  group.sum(own.by_parameters);
  for (const int i : {0, 1}) {
    EXPECT_TRUE(torch::allclose(own.by_parameters[i], whole.by_parameters[i], 1e-5, 1e-4));
    EXPECT_TRUE(torch::allclose(own.statistics[i], whole.statistics[i], 1e-5, 1e-5));
  }
  const at::Tensor lower = part(images).to(at::kBFloat16);
  EXPECT_EQ(make_norm()(lower).scalar_type(), at::kBFloat16);
  torch::nn::BatchNorm2d evaluated = make_norm();
  evaluated->eval();
  const at::Tensor in_evaluation = evaluated(part(images));
  sync.reset();
  EXPECT_TRUE(in_evaluation.equal(evaluated(part(images))));
  const Normalised after(part(images), part(weight), make_norm());
  EXPECT_TRUE(after.result.equal(apart.result));
}

TEST_P(GroupTest, Worker) {
  const char* rank = std::getenv("KD_GROUP_RANK");
  if (rank == nullptr) GTEST_SKIP() << "a part of the other tests, which start it";
  const auto group = kd::join_gloo_group(std::getenv("KD_GROUP_MEETING"), std::atoi(rank), 2);
  ASSERT_EQ(group->size(), 2);
  ASSERT_EQ(group->rank(), std::atoi(rank));
  const std::string task = std::getenv("KD_GROUP_TASK");
  const fs::path runs = std::getenv("KD_GROUP_RUNS");
  if (task == "exchange") {
    exchange(*group);
  } else if (task == "texts") {
    exchange_texts_and_tensors(*group);
  } else if (task == "batch norm") {
    normalise_together(*group);
  } else if (task == "train") {
    CountsStages progress;
    EXPECT_EQ(train(*group, runs, kUneven, progress).folder.empty(), !group->is_first());
    EXPECT_EQ(progress.epochs > 0, group->is_first());
  } else if (task.starts_with("stop")) {
    kd::watch_stop_signals();
    StopsAfter stops(std::stoi(task.substr(4)));
    try {
      train(*group, runs, kUneven, stops);
      FAIL() << "it did not stop";
    } catch (const kd::Error& error) {
      EXPECT_EQ(error.code(), kd::ExitCode::kResumable) << error.what();
    }
  } else {
    FAIL() << task;
  }
  group->wait();
}

TEST_P(GroupTest, ExchangesTensors) { EXPECT_TRUE(run_pair("exchange", "")); }

TEST_P(GroupTest, ExchangesTextsAndTensorsOfUnlikeShapes) { EXPECT_TRUE(run_pair("texts", "")); }

TEST_P(GroupTest, NormalisesOverTheImagesOfAll) { EXPECT_TRUE(run_pair("batch norm", "")); }

/// Every number that metrics.jsonl of a stage holds, by name and epoch.
std::map<std::string, double> numbers_of(const fs::path& stage) {
  std::map<std::string, double> numbers;
  for (const kd::Record& record : kd::read_records(stage / "metrics.jsonl"))
    numbers[record.split + "/" + record.name + "/" + std::to_string(record.epoch)] = record.value;
  return numbers;
}

TEST_P(GroupTest, TwoProcessesTrainTheNetworkOfOne) {
  kd::SilentProgress silence;
  const kd::RunResult alone = train(kd::Group::alone(), folder_ / "alone", kUneven, silence);
  ASSERT_TRUE(run_pair("train", folder_ / "pair"));
  // Taken from the stages that the two have left.
  const kd::RunResult pair = train(kd::Group::alone(), folder_ / "pair", kUneven, silence);
  for (std::size_t i = 0; i < alone.stages.size(); ++i) {
    ASSERT_TRUE(pair.stages[i].reused);
    EXPECT_LT(largest_difference(weights(alone.stages[i]), weights(pair.stages[i])), 1e-5);
    EXPECT_NEAR(alone.stages[i].networks[0].test.nll, pair.stages[i].networks[0].test.nll, 1e-5);
    const auto expected = numbers_of(alone.stages[i].folder);
    const auto same = numbers_of(pair.stages[i].folder);
    ASSERT_EQ(expected.size(), same.size());
    // The meter weighs each process's mean over labelled rows by all its rows, as it does from batch to batch.
    for (const auto& [name, value] : expected)
      EXPECT_NEAR(same.at(name), value, name.starts_with("train/loss") ? 5e-3 : 1e-4) << name;
  }
}

TEST_P(GroupTest, StopsTogetherAndGoesOn) {
  kd::SilentProgress silence;
  ASSERT_TRUE(run_pair("train", folder_ / "whole"));
  const kd::RunResult whole = train(kd::Group::alone(), folder_ / "whole", kUneven, silence);
  // Between the two batches of an update; and behind the last of an epoch's six, which then is only to be ended.
  for (const std::string steps : {"9", "5"}) {
    const fs::path runs = folder_ / ("stopped" + steps);
    ASSERT_TRUE(run_pair("stop" + steps, runs));
    ASSERT_TRUE(run_pair("train", runs));
    const kd::RunResult stopped = train(kd::Group::alone(), runs, kUneven, silence);
    for (std::size_t i = 0; i < whole.stages.size(); ++i) {
      EXPECT_TRUE(stopped.stages[i].reused);
      // The open gradients of the two were added up for the checkpoint, in another order.
      EXPECT_LT(largest_difference(weights(stopped.stages[i]), weights(whole.stages[i])), 1e-5);
      const auto expected = numbers_of(whole.stages[i].folder);
      const auto same = numbers_of(stopped.stages[i].folder);
      ASSERT_EQ(expected.size(), same.size());
      for (const auto& [name, value] : expected) EXPECT_NEAR(same.at(name), value, 1e-4) << name;
    }
  }
}

}  // namespace
