// Tests of what analyses see of a trained network, and of the assignment that pairs the units of two.
#include "engine/analysed_model.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <numeric>

#include "engine_fixture.h"
#include "kd/assignment.h"
#include "kd/diagnostics.h"

namespace {

using engine_tests::EngineTest;

class AnalysedModelTest : public EngineTest {
 protected:
  std::unique_ptr<kd::AnalysedModel> trained() {
    const auto result = run({"stage.teacher.model={ type = \"resnet\", depth = 8 }", "train.epochs=1",
                             "train.precision=\"fp32\"", "train.augment=[{ type = \"normalize\" }]"});
    return kd::load_analysed(result.folder, "teacher", "", "", at::Device(GetParam()));
  }
};

const kd::NamedParameter& named(const std::vector<kd::NamedParameter>& all, const std::string& name) {
  return *std::find_if(all.begin(), all.end(), [&](const kd::NamedParameter& one) { return one.name == name; });
}

TEST_P(AnalysedModelTest, PixelsAreWhatIsSeenBeforeNormalisation) {
  const auto model = trained();
  const at::Tensor pixels = model->pixels(kd::Split::kTest, 10, 20);
  EXPECT_EQ(pixels.sizes(), (at::IntArrayRef{20, 1, 28, 28}));
  EXPECT_GE(pixels.min().item<float>(), 0);
  EXPECT_LE(pixels.max().item<float>(), 1);
  EXPECT_TRUE(model->images(kd::Split::kTest, 10, 20).equal(model->seen(pixels)));
  const double mean = model->data().mean[0], deviation = model->data().deviation[0];
  EXPECT_TRUE(at::allclose(model->seen(pixels), (pixels - mean) / deviation, 1e-4, 1e-5));
  EXPECT_EQ(model->pixels(kd::Split::kTest, 190, 20).size(0), 10);
}

TEST_P(AnalysedModelTest, GradientsReachThePixels) {
  const auto model = trained();
  const at::Tensor pixels = model->pixels(kd::Split::kTest, 0, 4).clone().requires_grad_(true);
  const at::Tensor seen = model->seen(pixels);
  seen.sum().backward();
  const double expected = 1 / model->data().deviation[0];
  EXPECT_TRUE(at::allclose(pixels.grad(), at::full_like(pixels, expected), 1e-4));
}

TEST_P(AnalysedModelTest, EstimatesBatchNormFromTheWeightsThatThereAre) {
  const auto model = trained();
  const at::Tensor before = model->compute_logits(kd::Split::kTest, 100).clone();
  model->with_weights([&](const std::vector<kd::NamedParameter>& weights) {
    at::Tensor changed = named(weights, "conv1.weight").tensor;
    changed.mul_(3);
    model->estimate_statistics(kd::Split::kTrain, 64);
    const at::Tensor images = model->images(kd::Split::kTrain, 0, 64);
    const at::Tensor maps = at::conv2d(images, changed, {}, 1, 1);
    const auto statistics = model->statistics();
    EXPECT_TRUE(at::allclose(named(statistics, "bn1.running_mean").tensor, maps.mean({0, 2, 3}), 1e-3, 1e-4));
    EXPECT_TRUE(at::allclose(named(statistics, "bn1.running_var").tensor, maps.var({0, 2, 3}), 1e-3, 1e-4));
    return 0;
  });
  EXPECT_TRUE(model->compute_logits(kd::Split::kTest, 100).equal(before));
}

TEST_P(AnalysedModelTest, EstimatesAreMeansOverBatches) {
  const auto result = run({"stage.teacher.model={ type = \"resnet\", depth = 8 }", "train.epochs=1",
                           "train.precision=\"fp32\"", "train.evaluation_batch_size=32"});
  const auto model = kd::load_analysed(result.folder, "teacher", "", "", at::Device(GetParam()));
  model->with_weights([&](const std::vector<kd::NamedParameter>& weights) {
    model->estimate_statistics(kd::Split::kTrain, 64);
    at::Tensor mean, variance;
    for (const std::int64_t begin : {0, 32}) {
      const at::Tensor maps =
          at::conv2d(model->images(kd::Split::kTrain, begin, 32), named(weights, "conv1.weight").tensor, {}, 1, 1);
      mean = mean.defined() ? mean + maps.mean({0, 2, 3}) / 2 : maps.mean({0, 2, 3}) / 2;
      variance = variance.defined() ? variance + maps.var({0, 2, 3}) / 2 : maps.var({0, 2, 3}) / 2;
    }
    EXPECT_TRUE(at::allclose(named(model->statistics(), "bn1.running_mean").tensor, mean, 1e-3, 1e-4));
    EXPECT_TRUE(at::allclose(named(model->statistics(), "bn1.running_var").tensor, variance, 1e-3, 1e-4));
    return 0;
  });
}

TEST_P(AnalysedModelTest, WeightsAndStatisticsComeBackAfterAnException) {
  const auto model = trained();
  const at::Tensor before = model->compute_logits(kd::Split::kTest, 100).clone();
  EXPECT_THROW(model->with_weights([&](const std::vector<kd::NamedParameter>& weights) -> int {
    for (const kd::NamedParameter& weight : weights) {
      at::Tensor changed = weight.tensor;
      changed.zero_();
    }
    model->estimate_statistics(kd::Split::kTrain, 64);
    throw kd::Error("in the middle");
  }),
               kd::Error);
  EXPECT_TRUE(model->compute_logits(kd::Split::kTest, 100).equal(before));
}

INSTANTIATE_TEST_SUITE_P(Devices, AnalysedModelTest, ::testing::ValuesIn(engine_tests::device_names()));

double gain_of(const at::Tensor& gains, const std::vector<std::int64_t>& columns) {
  double sum = 0;
  for (std::size_t row = 0; row < columns.size(); ++row)
    sum += gains[static_cast<std::int64_t>(row)][columns[row]].item<double>();
  return sum;
}

TEST(Assignment, IsTheBestOfAllPermutations) {
  torch::manual_seed(0);
  for (int trial = 0; trial < 20; ++trial) {
    const at::Tensor gains = at::randn({4, 6}, at::kDouble);
    std::vector<std::int64_t> columns(6);
    std::iota(columns.begin(), columns.end(), 0);
    double best = -1e9;
    do {
      best = std::max(best, gain_of(gains, {columns.begin(), columns.begin() + 4}));
    } while (std::next_permutation(columns.begin(), columns.end()));
    const auto chosen = kd::best_assignment(gains);
    EXPECT_NEAR(gain_of(gains, chosen), best, 1e-5);
    EXPECT_EQ(std::set<std::int64_t>(chosen.begin(), chosen.end()).size(), 4U);
  }
}

TEST(Assignment, FindsAPermutationAgain) {
  const at::Tensor order = at::randperm(200, at::kLong);
  const auto chosen = kd::best_assignment(at::eye(200).index_select(1, order));
  for (std::int64_t row = 0; row < 200; ++row)
    EXPECT_EQ(order[chosen[static_cast<std::size_t>(row)]].item<std::int64_t>(), row);
}

TEST(Assignment, TakesEqualGainsAndNothing) {
  const auto chosen = kd::best_assignment(at::zeros({3, 3}));
  EXPECT_EQ(std::set<std::int64_t>(chosen.begin(), chosen.end()).size(), 3U);
  EXPECT_TRUE(kd::best_assignment(at::zeros({0, 3})).empty());
}

TEST(Assignment, RefusesWhatHasNone) {
  EXPECT_THROW(kd::best_assignment(at::zeros({3, 2})), kd::Error);
  EXPECT_THROW(kd::best_assignment(at::full({2, 2}, NAN)), kd::Error);
}

}  // namespace
