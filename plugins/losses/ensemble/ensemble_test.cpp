// Tests of the loss "ensemble", in the scheme vanilla_kd.
#include <ATen/ops/full.h>

#include <algorithm>
#include <functional>

#include "kd/testing/stages.h"

namespace {

namespace fakes = kd::testing::fakes;

const std::vector<double> kWeights{1, 2, 1};
constexpr double kTemperature = 4;

fakes::Stage make(const std::string& parameters, const std::vector<double>& weights = kWeights,
                  const at::Device& device = at::kCPU) {
  return fakes::Stage("{ type = 'vanilla_kd', losses = [{ type = 'ensemble', " + parameters + " }] }", device,
                      {.networks = 1, .teacher_weights = weights});
}

/// Each teacher's soft targets.
std::vector<fakes::Rows> soft_targets(const fakes::Stage& stage, double temperature) {
  std::vector<fakes::Rows> targets;
  for (const fakes::Teacher& teacher : stage.all_teachers) {
    targets.push_back(fakes::probabilities(teacher.classifier.logits(stage.batch.images), temperature));
  }
  return targets;
}

fakes::Rows student(const fakes::Stage& stage, double temperature) {
  return fakes::probabilities(stage.network.classifier.logits(stage.batch.images), temperature);
}

/// Weight of teacher m in sample i.
using Weighting = std::function<double(std::size_t m, std::size_t i)>;

double as_given(std::size_t m, std::size_t /*i*/) { return kWeights[m] / 4; }

/// Σ_m w_mi · q_m of each sample.
fakes::Rows mean_softmax(const std::vector<fakes::Rows>& q, const Weighting& weight) {
  fakes::Rows mean = q[0];
  for (std::size_t i = 0; i < mean.size(); ++i) {
    for (std::size_t c = 0; c < mean[i].size(); ++c) {
      mean[i][c] = 0;
      for (std::size_t m = 0; m < q.size(); ++m) mean[i][c] += weight(m, i) * q[m][i][c];
    }
  }
  return mean;
}

/// Π_m q_m^w_m of each sample, divided by its sum.
fakes::Rows geometric_mean(const std::vector<fakes::Rows>& q) {
  fakes::Rows mean = q[0];
  for (std::size_t i = 0; i < mean.size(); ++i) {
    double sum = 0;
    for (std::size_t c = 0; c < mean[i].size(); ++c) {
      mean[i][c] = 1;
      for (std::size_t m = 0; m < q.size(); ++m) mean[i][c] *= std::pow(q[m][i][c], as_given(m, i));
      sum += mean[i][c];
    }
    for (double& value : mean[i]) value /= sum;
  }
  return mean;
}

/// T · (sum·p − q)/B, times the images: the gradient of T²·Σ q ln(1/p) for q of sum `sum`.
at::Tensor expected_gradient(const fakes::Stage& stage, const fakes::Rows& q, double sum, double temperature) {
  fakes::Rows by_logits = student(stage, temperature);
  for (std::size_t i = 0; i < by_logits.size(); ++i) {
    for (std::size_t c = 0; c < by_logits[i].size(); ++c) {
      by_logits[i][c] = temperature * (sum * by_logits[i][c] - q[i][c]) / fakes::kSamples;
    }
  }
  return fakes::weight_gradient(stage.batch.images, by_logits);
}

double value(fakes::Stage& stage) { return stage.step().at(0).value.item<double>(); }
at::Tensor gradient(fakes::Stage& stage) { return fakes::gradient(stage.step(), stage.network); }

TEST(Ensemble, LossesOfTheTeachersFollowTheDefinition) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const bool add : {false, true}) {
      fakes::Stage stage = make(add ? "combine = 'add_loss'" : "combine = 'average_loss'", kWeights, device);
      double expected = 0;
      const std::vector<fakes::Rows> q = soft_targets(stage, kTemperature);
      for (std::size_t m = 0; m < q.size(); ++m) {
        expected += as_given(m, 0) * 16 * fakes::divergence(q[m], student(stage, kTemperature));
      }
      EXPECT_NEAR(value(stage), add ? 3 * expected : expected, 1e-4);
    }
  }
}

TEST(Ensemble, LossesOfMeansFollowTheDefinition) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage softmax = make("combine = 'average_softmax'", kWeights, device);
    const fakes::Rows p = student(softmax, kTemperature);
    const std::vector<fakes::Rows> q = soft_targets(softmax, kTemperature);
    EXPECT_NEAR(value(softmax), 16 * fakes::divergence(mean_softmax(q, as_given), p), 1e-4);
    for (const std::string name : {"average_logits", "geometric_mean"}) {
      fakes::Stage stage = make("combine = '" + name + "'", kWeights, device);
      EXPECT_NEAR(value(stage), 16 * fakes::divergence(geometric_mean(q), p), 1e-4);
    }
  }
}

TEST(Ensemble, MeanOfLossesTrainsAsTheLossOfTheMeanSoftmax) {
  fakes::Stage losses = make("combine = 'average_loss'"), softmax = make("combine = 'average_softmax'");
  const at::Tensor expected =
      expected_gradient(losses, mean_softmax(soft_targets(losses, kTemperature), as_given), 1, kTemperature);
  EXPECT_LT(fakes::largest_difference(gradient(losses), expected), 1e-6);
  EXPECT_LT(fakes::largest_difference(gradient(softmax), expected), 1e-6);
  fakes::Stage logits = make("combine = 'average_logits'");
  EXPECT_GT(fakes::largest_difference(gradient(logits), expected), 1e-4);
}

TEST(Ensemble, AddedLossesTrainAsTheSummedSoftmaxesAndAsTheirNumberOfMeans) {
  fakes::Stage add = make("combine = 'add_loss'", {2, 2, 2}), mean = make("combine = 'average_loss'", {2, 2, 2});
  const fakes::Rows sum =
      mean_softmax(soft_targets(add, kTemperature), [](std::size_t /*m*/, std::size_t /*i*/) { return 1.0; });
  EXPECT_LT(fakes::largest_difference(gradient(add), expected_gradient(add, sum, 3, kTemperature)), 2e-6);
  EXPECT_LT(fakes::largest_difference(gradient(add), 3 * gradient(mean)), 1e-6);
}

/// w_m · merit_mi over their sum.
Weighting by_merit(const std::vector<std::vector<double>>& merit) {
  return [merit](std::size_t m, std::size_t i) {
    double sum = 0;
    for (std::size_t k = 0; k < merit.size(); ++k) sum += kWeights[k] * merit[k][i];
    return kWeights[m] * merit[m][i] / sum;
  };
}

TEST(Ensemble, MayWeighTeachersByTheirConfidence) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage = make("weighting = 'confidence'", kWeights, device);
    std::vector<std::vector<double>> merit;
    for (const fakes::Rows& q : soft_targets(stage, 1)) {
      merit.emplace_back();
      for (const auto& row : q) merit.back().push_back(*std::max_element(row.begin(), row.end()));
    }
    const fakes::Rows target = mean_softmax(soft_targets(stage, kTemperature), by_merit(merit));
    EXPECT_NEAR(value(stage), 16 * fakes::divergence(target, student(stage, kTemperature)), 1e-4);
    EXPECT_LT(fakes::largest_difference(gradient(stage), expected_gradient(stage, target, 1, kTemperature)), 1e-6);
  }
}

/// Each teacher's probability of the label in each sample; sample 1 has no label.
std::vector<std::vector<double>> correctness(const std::vector<fakes::Rows>& q) {
  std::vector<std::vector<double>> merit;
  for (const fakes::Rows& rows : q) {
    merit.emplace_back();
    for (std::size_t i = 0; i < rows.size(); ++i) merit.back().push_back(i == 1 ? 1 : rows[i][i % 3]);
  }
  return merit;
}

TEST(Ensemble, MayWeighTeachersByTheirCorrectness) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const bool mixed : {false, true}) {
      fakes::Stage stage = make("weighting = 'correctness'", kWeights, device);
      std::vector<std::vector<double>> merit = correctness(soft_targets(stage, 1));
      stage.batch.targets.labels[1] = -1;
      if (mixed) {  // partner: the class 0 of every sample, of weight 1/4
        stage.batch.targets.partner = stage.batch.targets.labels * 0;
        stage.batch.targets.weight = at::full({fakes::kSamples}, 0.75, at::TensorOptions(device));
        for (std::size_t m = 0; m < merit.size(); ++m) {
          const fakes::Rows q = soft_targets(stage, 1)[m];
          for (std::size_t i = 0; i < q.size(); ++i) merit[m][i] = i == 1 ? 1 : 0.75 * merit[m][i] + 0.25 * q[i][0];
        }
      }
      const fakes::Rows target = mean_softmax(soft_targets(stage, kTemperature), by_merit(merit));
      EXPECT_NEAR(value(stage), 16 * fakes::divergence(target, student(stage, kTemperature)), 1e-4);
    }
  }
}

TEST(Ensemble, FollowsSchedules) {
  fakes::Stage stage = make("temperature = { type = 'linear', from = 4, to = 2 }");
  const std::vector<kd::Term> terms = stage.step(10);
  const fakes::Rows target = mean_softmax(soft_targets(stage, 3), as_given);
  EXPECT_NEAR(terms[0].value.item<double>(), 9 * fakes::divergence(target, student(stage, 3)), 1e-4);
}

TEST(Ensemble, AsksEachTeacherOnceAndSendsItNoGradient) {
  fakes::Stage stage = make("temperature = 2 }, { type = 'kd', temperature = 2");
  const std::vector<kd::Term> terms = stage.step();
  ASSERT_EQ(fakes::names(terms), fakes::Names({"ensemble", "kd"}));
  fakes::objective(terms).backward();
  EXPECT_TRUE(stage.network.classifier.weight.grad().defined());
  for (const fakes::Teacher& teacher : stage.all_teachers) {
    EXPECT_EQ(teacher.seen_batches, std::vector<const kd::Batch*>({&stage.batch}));
    EXPECT_EQ(teacher.forward_passes, 0);
    EXPECT_FALSE(teacher.classifier.weight.grad().defined());
  }
}

TEST(Ensemble, MeanOfLossesIsThatOfALossForEachTeacher) {
  fakes::Stage stage = make("combine = 'average_loss', temperature = 2 }, { type = 'kd', temperature = 2");
  const std::vector<kd::Term> terms = stage.step();
  EXPECT_NEAR(terms[0].value.item<double>(), terms[1].value.item<double>(), 1e-4);
}

TEST(Ensemble, OneTeacherIsItsOwnEnsemble) {
  for (const std::string name : {"add_loss", "average_loss", "average_softmax", "average_logits"}) {
    fakes::Stage stage = make("combine = '" + name + "'", {5});
    EXPECT_NEAR(value(stage),
                16 * fakes::divergence(soft_targets(stage, kTemperature)[0], student(stage, kTemperature)), 1e-4);
  }
}

TEST(Ensemble, StaysFiniteWhereTeachersAreSureAndWrong) {
  for (const std::string name : {"add_loss", "average_loss", "average_softmax", "average_logits"}) {
    fakes::Stage stage = make("weighting = 'correctness', combine = '" + name + "'");
    stage.network.classifier.weight.data().mul_(1e3);
    for (fakes::Teacher& teacher : stage.all_teachers) teacher.classifier.weight.data().mul_(1e4);
    EXPECT_TRUE(std::isfinite(value(stage))) << name;
    EXPECT_TRUE(gradient(stage).isfinite().all().item<bool>()) << name;
  }
}

}  // namespace
