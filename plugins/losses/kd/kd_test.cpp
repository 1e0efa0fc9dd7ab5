// Tests of the loss "kd".
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"

namespace {

constexpr std::int64_t kRows = 4, kClasses = 7;

std::unique_ptr<kd::Loss> make(double temperature, const std::string& more = "") {
  kd::load_plugins();
  return kd::make<kd::Loss>("{ type = 'kd', temperature = " + std::to_string(temperature) + more + " }",
                            {.classes = kClasses, .samples = kRows});
}

at::Tensor value(kd::Loss& loss, const at::Tensor& student_logits, const at::Tensor& teacher_logits,
                 const kd::ScheduleTime& time = {}) {
  const kd::Outputs student{.logits = student_logits, .taps = {}};
  const kd::Outputs teacher{.logits = teacher_logits, .taps = {}};
  const kd::Batch batch;
  return loss({.student = student, .teachers = {&teacher, 1}, .batch = batch, .time = time, .key = {}});
}

at::Tensor student() { return kd::testing::normal({kRows, kClasses}, 1) * 3; }
at::Tensor teacher() { return kd::testing::normal({kRows, kClasses}, 2) * 3; }

using Rows = std::vector<std::vector<double>>;

/// exp(z/T) / Σ exp(z/T), straight from the definition.
Rows softmax(const at::Tensor& logits, double temperature) {
  const at::Tensor flat = logits.detach().to(at::kCPU, at::kDouble).contiguous();
  Rows rows(static_cast<std::size_t>(flat.size(0)));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    double sum = 0;
    for (std::int64_t c = 0; c < flat.size(1); ++c) {
      rows[i].push_back(
          std::exp(flat.const_data_ptr<double>()[static_cast<std::int64_t>(i) * flat.size(1) + c] / temperature));
      sum += rows[i].back();
    }
    for (double& p : rows[i]) p /= sum;
  }
  return rows;
}

/// Mean over rows of Σ q log(q/p), or of −Σ q log p.
double mean_divergence(const Rows& q, const Rows& p, bool subtract_entropy) {
  double sum = 0;
  for (std::size_t i = 0; i < q.size(); ++i) {
    for (std::size_t c = 0; c < q[i].size(); ++c) {
      sum += q[i][c] * ((subtract_entropy ? std::log(q[i][c]) : 0.0) - std::log(p[i][c]));
    }
  }
  return sum / static_cast<double>(q.size());
}

at::Tensor gradient_of(kd::Loss& loss, const at::Tensor& student_logits, const at::Tensor& teacher_logits) {
  const at::Tensor leaf = student_logits.detach().clone().requires_grad_(true);
  return torch::autograd::grad({value(loss, leaf, teacher_logits)}, {leaf})[0];
}

TEST(Kd, FollowsTheDefinition) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const double t : {1.0, 2.5, 20.0}) {
      const double kl = mean_divergence(softmax(teacher(), t), softmax(student(), t), true);
      const double soft = mean_divergence(softmax(teacher(), t), softmax(student(), t), false);
      const at::Tensor s = student().to(device), v = teacher().to(device);
      EXPECT_NEAR(value(*make(t), s, v).item<double>(), t * t * kl, 2e-6 * (1 + t * t));
      EXPECT_NEAR(value(*make(t, ", scale = 'none'"), s, v).item<double>(), kl, 2e-6);
      EXPECT_NEAR(value(*make(t, ", form = 'cross_entropy'"), s, v).item<double>(), t * t * soft, 2e-6 * (1 + t * t));
      EXPECT_NEAR(value(*make(t), s.to(at::kDouble), v.to(at::kDouble)).item<double>(), t * t * kl,
                  1e-12 * (1 + t * t));
    }
  }
}

TEST(Kd, IsZeroWithoutGradientWhereTheyAgree) {
  EXPECT_NEAR(value(*make(3), teacher(), teacher() + 2).item<double>(), 0, 1e-5);
  EXPECT_LT(gradient_of(*make(3), teacher(), teacher() + 2).abs().max().item<double>(), 1e-6);
}

TEST(Kd, GradientEqualsFiniteDifferences) {
  const at::Tensor v = teacher().to(at::kDouble);
  for (const auto* more : {"", ", form = 'cross_entropy'", ", scale = 'none'", ", reduction = 'mean'"}) {
    const auto loss = make(2.5, more);
    const auto f = [&](const at::Tensor& x) { return value(*loss, x, v) * 1.7; };
    EXPECT_LT(kd::testing::gradient_error(f, student()), 1e-8) << more;
  }
}

TEST(Kd, GradientIsTheDifferenceOfTheSoftTargets) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const double t : {1.0, 4.0}) {
      const Rows p = softmax(student(), t), q = softmax(teacher(), t);
      const at::Tensor gradient = gradient_of(*make(t), student().to(device), teacher().to(device)).cpu();
      for (std::size_t i = 0; i < p.size(); ++i) {
        for (std::size_t c = 0; c < p[i].size(); ++c) {
          const double actual = gradient[static_cast<std::int64_t>(i)][static_cast<std::int64_t>(c)].item<double>();
          EXPECT_NEAR(actual, t * (p[i][c] - q[i][c]) / kRows, 1e-6);
        }
      }
    }
  }
}

TEST(Kd, SoftCrossEntropyIsLargerByTheTeachersEntropy) {
  const double t = 4;
  const Rows q = softmax(teacher(), t);
  const double entropy = mean_divergence(q, q, false);
  const at::Tensor s = student().to(at::kDouble), v = teacher().to(at::kDouble);
  const at::Tensor difference = value(*make(t, ", form = 'cross_entropy'"), s, v) - value(*make(t), s, v);
  EXPECT_NEAR(difference.item<double>(), entropy * t * t, 1e-12);
  EXPECT_TRUE(gradient_of(*make(t, ", form = 'cross_entropy'"), s, v).equal(gradient_of(*make(t), s, v)));
}

TEST(Kd, HighTemperatureMatchesCentredLogits) {
  const at::Tensor s = student().to(at::kDouble), v = teacher().to(at::kDouble);
  const at::Tensor gap = s - v;
  const at::Tensor limit = (gap - gap.mean(1).unsqueeze(1)) / (kClasses * kRows);
  const auto error = [&](double t) { return (gradient_of(*make(t), s, v) - limit).abs().max().item<double>(); };
  EXPECT_LT(error(1e4), 1e-3);
  EXPECT_LT(error(1e5), 0.2 * error(1e4));  // the remainder falls as 1/T
}

TEST(Kd, MeanReductionAlsoDividesByTheClasses) {
  const double batch_mean = value(*make(2), student(), teacher()).item<double>();
  EXPECT_NEAR(value(*make(2, ", reduction = 'mean'"), student(), teacher()).item<double>(), batch_mean / kClasses,
              1e-6);
}

TEST(Kd, ComputesInSinglePrecision) {
  const at::Tensor s = student().to(at::kBFloat16).requires_grad_(true), v = teacher().to(at::kBFloat16);
  const at::Tensor result = value(*make(4), s, v);
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  EXPECT_TRUE(result.equal(value(*make(4), s.to(at::kFloat), v.to(at::kFloat))));
  EXPECT_EQ(torch::autograd::grad({result}, {s})[0].scalar_type(), at::kBFloat16);
}

TEST(Kd, StaysFiniteOnSaturatedLogits) {
  const at::Tensor s = student() * 1e4, v = teacher() * 1e4;
  EXPECT_TRUE(std::isfinite(value(*make(1), s, v).item<double>()));
  EXPECT_TRUE(gradient_of(*make(1), s, v).isfinite().all().item<bool>());
}

TEST(Kd, FollowsTheScheduleOfItsTemperature) {
  kd::load_plugins();
  const auto loss = kd::make<kd::Loss>("{ type = 'kd', temperature = { type = 'linear', from = 5, to = 1 } }");
  for (const std::int64_t step : {0, 5, 10, 20}) {
    const double t = 5 - 0.4 * static_cast<double>(std::min<std::int64_t>(step, 10));
    const double kl = mean_divergence(softmax(teacher(), t), softmax(student(), t), true);
    const kd::ScheduleTime time{.step = step, .steps_per_epoch = 5, .epochs = 2};
    EXPECT_NEAR(value(*loss, student(), teacher(), time).item<double>(), t * t * kl, 1e-4) << step;
  }
}

TEST(Kd, NeedsATeacher) { EXPECT_TRUE(make(4)->needs().teacher); }

}  // namespace
