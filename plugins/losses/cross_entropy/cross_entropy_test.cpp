// Tests of the loss "cross_entropy".
#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <vector>

#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"

namespace {

constexpr std::int64_t kRows = 6, kClasses = 5;
const std::vector<std::int64_t> kLabels{0, 4, 2, 2, 1, 3};
const std::vector<std::int64_t> kSomeLabels{0, -1, 2, -1, 1, -1};
const std::vector<std::int64_t> kPartners{3, 4, 1, 0, -1, 2};
const std::vector<double> kWeights{1, 0.25, 0, 0.9, 0.5, 0.7};

std::unique_ptr<kd::Loss> make(double smoothing = 0, const std::string& more = "") {
  kd::load_plugins();
  return kd::make<kd::Loss>("{ type = 'cross_entropy', label_smoothing = " + std::to_string(smoothing) + more + " }",
                            {.classes = kClasses, .samples = kRows});
}

at::Tensor value(kd::Loss& loss, const at::Tensor& logits, const kd::Targets& targets) {
  const kd::Outputs student{.logits = logits, .taps = {}};
  kd::Batch batch;
  batch.targets = targets;
  return loss({.student = student, .teachers = {}, .batch = batch, .time = {}, .key = {}});
}

kd::Targets hard(const std::vector<std::int64_t>& labels, const at::Device& device = at::kCPU) {
  return {.labels = at::tensor(labels).to(device), .partner = {}, .weight = {}};
}

kd::Targets mixed(const at::Device& device = at::kCPU) {
  return {.labels = at::tensor(kLabels).to(device),
          .partner = at::tensor(kPartners).to(device),
          .weight = at::tensor(kWeights).to(at::kFloat).to(device)};
}

/// Σ_c target_c · −log softmax(row)_c, straight from the definition.
double row_cross_entropy(const double* row, const std::vector<double>& target) {
  double sum = 0;
  for (std::int64_t c = 0; c < kClasses; ++c) sum += std::exp(row[c]);
  double result = 0;
  for (std::size_t c = 0; c < target.size(); ++c) result -= target[c] * (row[c] - std::log(sum));
  return result;
}

/// Mean over rows with a target; partner −1 with an empty list of partners means none.
double reference(const at::Tensor& logits, const std::vector<std::int64_t>& labels, double smoothing, bool mix) {
  const at::Tensor rows = logits.to(at::kCPU, at::kDouble).contiguous();
  double sum = 0;
  int count = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || (mix && kPartners[i] < 0)) continue;
    std::vector<double> target(kClasses, smoothing / kClasses);
    const double weight = mix ? kWeights[i] : 1;
    target[static_cast<std::size_t>(labels[i])] += (1 - smoothing) * weight;
    if (mix) target[static_cast<std::size_t>(kPartners[i])] += (1 - smoothing) * (1 - weight);
    sum += row_cross_entropy(rows.const_data_ptr<double>() + static_cast<std::int64_t>(i) * kClasses, target);
    ++count;
  }
  return sum / count;
}

TEST(CrossEntropy, FollowsTheDefinition) {
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor logits = (kd::testing::normal({kRows, kClasses}) * 3).to(device);
    for (const double smoothing : {0.0, 0.1, 0.5}) {
      const auto loss = make(smoothing);
      for (const auto& labels : {kLabels, kSomeLabels}) {
        EXPECT_NEAR(value(*loss, logits, hard(labels, device)).item<double>(),
                    reference(logits, labels, smoothing, false), 1e-6);
      }
      EXPECT_NEAR(value(*loss, logits, mixed(device)).item<double>(), reference(logits, kLabels, smoothing, true),
                  1e-6);
    }
  }
}

TEST(CrossEntropy, KeepsDoublePrecision) {
  const at::Tensor logits = kd::testing::normal({kRows, kClasses}).to(at::kDouble);
  EXPECT_NEAR(value(*make(), logits, hard(kLabels)).item<double>(), reference(logits, kLabels, 0, false), 1e-14);
}

TEST(CrossEntropy, GradientEqualsFiniteDifferences) {
  const at::Tensor logits = kd::testing::normal({kRows, kClasses});
  for (const double smoothing : {0.0, 0.1}) {
    const auto loss = make(smoothing);
    for (const kd::Targets& targets : {hard(kLabels), hard(kSomeLabels), mixed()}) {
      const auto f = [&](const at::Tensor& x) { return value(*loss, x, targets) * 1.7; };
      EXPECT_LT(kd::testing::gradient_error(f, logits), 1e-8);
    }
  }
}

TEST(CrossEntropy, NobodyLabelledIsZeroWithoutGradient) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const double smoothing : {0.0, 0.1}) {
      const at::Tensor logits = kd::testing::normal({2, kClasses}).to(device).requires_grad_(true);
      const at::Tensor result = value(*make(smoothing), logits, hard({-1, -1}, device));
      EXPECT_EQ(result.item<double>(), 0);
      EXPECT_TRUE(torch::autograd::grad({result}, {logits})[0].eq(0).all().item<bool>());
    }
  }
}

TEST(CrossEntropy, ShowsLogitsThatAreNotFinite) {
  const at::Tensor logits = kd::testing::normal({2, kClasses});
  logits.fill_(std::nan(""));
  EXPECT_TRUE(std::isnan(value(*make(), logits, hard({1, 2})).item<double>()));
}

TEST(CrossEntropy, ComputesInSinglePrecision) {
  const at::Tensor logits = (kd::testing::normal({kRows, kClasses}) * 10).to(at::kBFloat16).requires_grad_(true);
  const at::Tensor result = value(*make(), logits, hard(kLabels));
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  EXPECT_NEAR(result.item<double>(), reference(logits.detach(), kLabels, 0, false), 1e-5);
  EXPECT_EQ(torch::autograd::grad({result}, {logits})[0].scalar_type(), at::kBFloat16);
}

/// z/σ of each row, with Σ (z − mean)² / (C − 1) for σ².
at::Tensor rescaled(const at::Tensor& logits) {
  const at::Tensor result = logits.to(at::kCPU, at::kDouble, false, true).contiguous();
  for (std::int64_t i = 0; i < kRows; ++i) {
    double* row = result.mutable_data_ptr<double>() + i * kClasses;
    double mean = 0, squares = 0;
    for (std::int64_t c = 0; c < kClasses; ++c) mean += row[c] / kClasses;
    for (std::int64_t c = 0; c < kClasses; ++c) squares += (row[c] - mean) * (row[c] - mean);
    for (std::int64_t c = 0; c < kClasses; ++c) row[c] /= std::sqrt(squares / (kClasses - 1));
  }
  return result;
}

TEST(CrossEntropy, RescalesTheLogitsWhereAsked) {
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor logits = (kd::testing::normal({kRows, kClasses}) * 3).to(device);
    for (const double smoothing : {0.0, 0.1}) {
      const auto loss = make(smoothing, ", rescale = true");
      EXPECT_NEAR(value(*loss, logits, hard(kSomeLabels, device)).item<double>(),
                  reference(rescaled(logits), kSomeLabels, smoothing, false), 1e-6);
      EXPECT_NEAR(value(*loss, logits, mixed(device)).item<double>(),
                  reference(rescaled(logits), kLabels, smoothing, true), 1e-6);
    }
  }
}

TEST(CrossEntropy, GradientOfRescaledLogitsFlowsThroughTheDeviation) {
  const auto loss = make(0, ", rescale = true");
  for (const kd::Targets& targets : {hard(kLabels), hard(kSomeLabels), mixed()}) {
    const auto f = [&](const at::Tensor& x) { return value(*loss, x, targets) * 1.7; };
    EXPECT_LT(kd::testing::gradient_error(f, kd::testing::normal({kRows, kClasses})), 1e-8);
  }
}

TEST(CrossEntropy, RescaledLogitsStayFiniteWhereTheyAreEqual) {
  const at::Tensor logits = at::tensor(std::vector<double>(kRows * kClasses, 2)).view({kRows, kClasses});
  const at::Tensor leaf = logits.requires_grad_(true);
  const at::Tensor result = value(*make(0, ", rescale = true"), leaf, hard(kLabels));
  EXPECT_NEAR(result.item<double>(), std::log(kClasses), 1e-6);
  EXPECT_TRUE(torch::autograd::grad({result}, {leaf})[0].isfinite().all().item<bool>());
}

TEST(CrossEntropy, RefusesAllSmoothing) { EXPECT_THROW(make(1.0), kd::Error); }

}  // namespace
