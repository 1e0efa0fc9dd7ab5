// Tests of the scheme "joint_average".
#include <ATen/ops/full_like.h>

#include "kd/testing/stages.h"

namespace {

namespace fakes = kd::testing::fakes;

fakes::Stage make(const std::string& parameters, int networks, const at::Device& device = at::kCPU) {
  return fakes::Stage("{ type = 'joint_average'" + parameters + " }", device,
                      {.networks = networks, .teacher_weights = {}});
}

std::vector<at::Tensor> logits_of(const fakes::Stage& stage) {
  std::vector<at::Tensor> logits;
  for (const fakes::Network& network : stage.all_networks)
    logits.push_back(network.classifier.logits(stage.batch.images).detach().clone());
  return logits;
}

/// The mean of the networks' logits, by adding numbers.
fakes::Rows mean_of(const std::vector<at::Tensor>& logits) {
  fakes::Rows sum = fakes::rows(logits.front());
  for (std::size_t k = 1; k < logits.size(); ++k) {
    const fakes::Rows more = fakes::rows(logits[k]);
    for (std::size_t i = 0; i < sum.size(); ++i) {
      for (std::size_t c = 0; c < sum[i].size(); ++c) sum[i][c] += more[i][c];
    }
  }
  for (auto& row : sum) {
    for (double& z : row) z /= static_cast<double>(logits.size());
  }
  return sum;
}

at::Tensor tensor_of(const fakes::Rows& rows, const at::Tensor& like) {
  at::Tensor result = at::zeros_like(like, like.options().dtype(at::kDouble).device(at::kCPU));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t c = 0; c < rows[i].size(); ++c)
      result[static_cast<std::int64_t>(i)][static_cast<std::int64_t>(c)] = rows[i][c];
  }
  return result;
}

TEST(JointAverage, ShowsTheBatchToEachNetworkAndThenUpdatesEach) {
  fakes::Stage stage = make("", 3);
  stage.step();
  EXPECT_EQ(stage.events, fakes::Events({"forward a", "forward b", "forward c", "update a", "update b", "update c"}));
  for (const fakes::Network& network : stage.all_networks)
    EXPECT_TRUE(network.seen_images.front().is_same(stage.batch.images));
}

TEST(JointAverage, GivesEveryNetworkTheLossOfTheMeanLogits) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage = make("", 3, device);
    stage.updater.learning_rate = 0.5;  // the answers are those before the step
    const std::vector<at::Tensor> before = logits_of(stage);
    stage.step();
    const at::Tensor mean = tensor_of(mean_of(before), before.front());
    for (const auto& [network, terms] : stage.updater.updates) {
      ASSERT_EQ(fakes::names(terms), fakes::Names({"cross_entropy"}));
      EXPECT_NEAR(terms[0].value.item<double>(), fakes::cross_entropy(mean), 1e-5);
    }
    for (const at::Tensor& counted : stage.updater.counted_logits)
      EXPECT_LT(fakes::largest_difference(counted.cpu().to(at::kDouble), mean), 1e-5);
  }
}

TEST(JointAverage, SendsANetworkItsShareOfTheGradientAndItsPeersNone) {
  fakes::Stage stage = make("", 3);
  const std::vector<at::Tensor> before = logits_of(stage);
  stage.step();
  // (p − y)/(3·B), with p the softmax of the mean.
  fakes::Rows by_logits = fakes::probabilities(tensor_of(mean_of(before), before.front()), 1);
  for (std::size_t i = 0; i < by_logits.size(); ++i) {
    for (std::size_t c = 0; c < by_logits[i].size(); ++c)
      by_logits[i][c] = (by_logits[i][c] - (i % by_logits[i].size() == c ? 1 : 0)) / (3 * fakes::kSamples);
  }
  const at::Tensor wanted = fakes::weight_gradient(stage.batch.images, by_logits);
  for (std::size_t k = 0; k < 3; ++k) {
    const at::Tensor value = fakes::objective(stage.updater.updates[k].second);
    std::vector<at::Tensor> leaves;
    for (const fakes::Network& network : stage.all_networks) leaves.push_back(network.classifier.weight);
    const auto gradients = torch::autograd::grad({value}, leaves, {}, {}, false, /*allow_unused=*/true);
    for (std::size_t j = 0; j < 3; ++j) {
      EXPECT_EQ(gradients[j].defined(), j == k);
      if (j != k) continue;
      EXPECT_LT(fakes::largest_difference(gradients[j].to(at::kDouble), wanted), 1e-6);
    }
  }
}

TEST(JointAverage, OfNetworksThatAgreeIsThatNetworkAlone) {
  for (const std::string combine : {"logits", "probabilities"}) {
    fakes::Stage stage = make(", combine = '" + combine + "'", 2);
    stage.all_networks[1].classifier.weight.data().copy_(stage.all_networks[0].classifier.weight.data());
    EXPECT_NEAR(stage.step()[0].value.item<double>(), fakes::cross_entropy(logits_of(stage)[0]), 1e-5) << combine;
  }
}

TEST(JointAverage, MayAverageTheSoftmaxes) {
  fakes::Stage stage = make(", combine = 'probabilities'", 2);
  const std::vector<at::Tensor> before = logits_of(stage);
  const double value = stage.step()[0].value.item<double>();
  const fakes::Rows p = fakes::probabilities(before[0], 1), q = fakes::probabilities(before[1], 1);
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const std::size_t label = i % p[i].size();
    sum -= std::log((p[i][label] + q[i][label]) / 2);
  }
  EXPECT_NEAR(value, sum / fakes::kSamples, 1e-5);
  EXPECT_GT(std::abs(value - fakes::cross_entropy(tensor_of(mean_of(before), before[0]))), 1e-3);
}

TEST(JointAverage, LeavesOutRowsWithoutALabel) {
  const auto gradient = [](std::int64_t poison) {
    fakes::Stage stage = make("", 2);
    at::Tensor labels = stage.batch.targets.labels.clone();
    labels[1] = -1;
    stage.batch.targets.labels = labels;
    // What an unlabelled image shows changes no other row.
    stage.batch.images = stage.batch.images.clone();
    stage.batch.images[1] = at::full_like(stage.batch.images[1], poison);
    return fakes::gradient(stage.step(), stage.all_networks[1]);
  };
  EXPECT_GT(gradient(0).abs().max().item<double>(), 0);
  EXPECT_TRUE(gradient(0).equal(gradient(200)));
}

TEST(JointAverage, WeighsItsLossesAndFollowsTheirSchedules) {
  fakes::Stage stage = make(
      ", losses = [{ type = 'cross_entropy', weight = 2 }, "
      "{ type = 'confidence_penalty', weight = { type = 'linear', from = 1, to = 0 } }]",
      2);
  EXPECT_EQ(fakes::weights(stage.step(0)), std::vector<double>({2, 1}));
  EXPECT_EQ(fakes::weights(stage.step(5)), std::vector<double>({2, 0.75}));
  EXPECT_EQ(fakes::names(stage.step(20)), fakes::Names({"cross_entropy"}));
}

void expect_refusal(const std::string& losses, const std::string& text) {
  try {
    fakes::Stage stage = make(", losses = [" + losses + "]", 2);
    FAIL() << losses;
  } catch (const kd::RecipeError& error) {
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

TEST(JointAverage, RefusesLossesThatAnAverageCannotServe) {
  expect_refusal("{ type = 'kd' }", "joint_average has no teacher");
  expect_refusal("{ type = 'recorder', teacher = false }", "no feature 'stage1'");
  expect_refusal("{ type = 'jsd' }", "extra view");
}

TEST(JointAverage, WantsTwoOrMoreNetworksAndNoTeacher) {
  fakes::load_components();
  const kd::Roles roles = kd::registered_components().roles("scheme", "joint_average");
  EXPECT_EQ(roles.fewest_networks, 2);
  EXPECT_GT(roles.most_networks, 1000);
  EXPECT_EQ(roles.most_teachers, 0);
}

}  // namespace
