// What the tests of losses share: fixed logits and targets, references in plain doubles, and the checks that
// every such loss must pass.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"

namespace kd::testing::losses {

constexpr std::int64_t kRows = 5, kClasses = 7;

using kd::testing::rows;
using kd::testing::Rows;
using Row = Rows::value_type;
using Labels = std::vector<std::int64_t>;

inline const Labels kLabels{3, 0, 6, 2, 2};
inline const Labels kSomeLabels{3, -1, 6, -1, 2};
inline const Labels kPartners{1, 5, 6, -1, 0};
inline const Row kWeights{1, 0.25, 0.5, 0.9, 0};

inline at::Tensor student() { return kd::testing::normal({kRows, kClasses}, 1) * 3; }
inline at::Tensor teacher() { return kd::testing::normal({kRows, kClasses}, 2) * 3; }

inline kd::Targets hard(const Labels& labels) { return {.labels = at::tensor(labels), .partner = {}, .weight = {}}; }
inline kd::Targets mixed() {
  return {.labels = at::tensor(kLabels), .partner = at::tensor(kPartners), .weight = at::tensor(kWeights)};
}

/// What a loss sees beside the student's logits.
struct Given {
  at::Tensor teacher = {};
  kd::Targets targets = {};
  std::vector<kd::ViewLogits> views = {};
  kd::ScheduleTime time = {};
};

/// `parameters` as a recipe writes them: "temperature = 2, scale = 'none'".
inline std::unique_ptr<kd::Loss> make(const std::string& type, const std::string& parameters = "") {
  kd::load_plugins();
  return kd::make<kd::Loss>(
      "{ type = '" + type + "'" + (parameters.empty() ? "" : ", ") + parameters + " }",
      {.classes = kClasses, .samples = kRows, .student = {}, .teachers = {{}}, .key = kd::RandomKey{}.with("loss")});
}

inline at::Tensor value(kd::Loss& loss, const at::Tensor& student_logits, const Given& given) {
  const kd::Outputs student{.logits = student_logits, .taps = {}};
  const kd::Outputs teacher{.logits = given.teacher, .taps = {}};
  kd::Batch batch;
  batch.images = student_logits;
  batch.index = at::arange(student_logits.size(0), student_logits.options().dtype(at::kLong).requires_grad(false));
  batch.targets = given.targets;
  return loss({.student = student,
               .teachers = {&teacher, given.teacher.defined() ? 1U : 0U},
               .batch = batch,
               .time = given.time,
               .key = {},
               .views = given.views});
}

inline at::Tensor value(const std::unique_ptr<kd::Loss>& loss, const at::Tensor& student_logits, const Given& given) {
  return value(*loss, student_logits, given);
}

inline at::Tensor gradient(const std::unique_ptr<kd::Loss>& loss, const at::Tensor& student_logits,
                           const Given& given) {
  const at::Tensor leaf = student_logits.detach().clone().requires_grad_(true);
  return torch::autograd::grad({value(loss, leaf, given)}, {leaf})[0];
}

/// `given` with its logits changed by `change` and its targets on `device`.
inline Given changed(const Given& given, const at::Device& device,
                     const std::function<at::Tensor(const at::Tensor&)>& change) {
  const auto move = [&](const at::Tensor& tensor) { return tensor.defined() ? tensor.to(device) : tensor; };
  Given result = given;
  if (given.teacher.defined()) result.teacher = change(move(given.teacher));
  result.targets = {.labels = move(given.targets.labels),
                    .partner = move(given.targets.partner),
                    .weight = move(given.targets.weight)};
  for (kd::ViewLogits& view : result.views) view.logits = change(move(view.logits));
  return result;
}

inline at::Tensor matrix(const Rows& numbers) {
  Row flat;
  for (const Row& row : numbers) flat.insert(flat.end(), row.begin(), row.end());
  return at::tensor(flat).view({static_cast<std::int64_t>(numbers.size()), -1});
}

/// exp(z/T) / Σ exp(z/T), straight from the definition.
inline Row softmax(Row row, double temperature = 1) {
  double sum = 0;
  for (double& z : row) sum += z = std::exp(z / temperature);
  for (double& p : row) p /= sum;
  return row;
}

inline Rows softmax(const at::Tensor& logits, double temperature = 1) {
  Rows result = rows(logits);
  for (Row& row : result) row = softmax(row, temperature);
  return result;
}

/// Σ a ln(a/b).
inline double divergence(const Row& a, const Row& b) {
  double sum = 0;
  for (std::size_t c = 0; c < a.size(); ++c) sum += a[c] * std::log(a[c] / b[c]);
  return sum;
}

/// The row without the entry of one class.
inline Row without(Row row, std::int64_t label) {
  row.erase(row.begin() + label);
  return row;
}

inline double mean(const Row& numbers) {
  double sum = 0;
  for (const double x : numbers) sum += x;
  return sum / static_cast<double>(numbers.size());
}

/// The root of Σ (x − mean)² / (n − 1).
inline double unbiased_deviation(const Row& numbers) {
  double squares = 0;
  for (const double x : numbers) squares += (x - mean(numbers)) * (x - mean(numbers));
  return std::sqrt(squares / static_cast<double>(numbers.size() - 1));
}

/// (z − mean)/σ of each row, from the definition.
inline Rows standardised(const at::Tensor& logits) {
  Rows result = rows(logits);
  for (Row& row : result) {
    const double centre = mean(row), deviation = unbiased_deviation(row);
    for (double& z : row) z = (z - centre) / deviation;
  }
  return result;
}

/// Mean of f(i) over all rows.
inline double mean_of_rows(const std::function<double(std::size_t)>& f) {
  Row values;
  for (std::size_t i = 0; i < static_cast<std::size_t>(kRows); ++i) values.push_back(f(i));
  return mean(values);
}

/// Mean of f(i, label) over the rows that have a label.
inline double mean_of_labelled(const Labels& labels, const std::function<double(std::size_t, std::int64_t)>& f) {
  Row values;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] >= 0) values.push_back(f(i, labels[i]));
  }
  return mean(values);
}

/// The value is `expected` on every device, in single and in double precision; `rounding` is how exact it is in double.
inline void expect_value(const std::unique_ptr<kd::Loss>& loss, const Given& given, double expected,
                         const at::Tensor& student_logits = student(), double rounding = 1e-12) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      const Given there = changed(given, device, [&](const at::Tensor& t) { return t.to(type); });
      const at::Tensor result = value(loss, student_logits.to(device, type), there);
      EXPECT_EQ(result.scalar_type(), type);
      EXPECT_EQ(result.dim(), 0);
      EXPECT_NEAR(result.item<double>(), expected, (type == at::kFloat ? 5e-6 : rounding) * (1 + std::abs(expected)));
    }
  }
}

inline void expect_exact_gradient(const std::unique_ptr<kd::Loss>& loss, const Given& given) {
  const Given exact = changed(given, at::kCPU, [](const at::Tensor& t) { return t.to(at::kDouble); });
  const auto f = [&](const at::Tensor& x) { return value(loss, x, exact) * 1.7; };
  EXPECT_LT(kd::testing::gradient_error(f, student()), 1e-7);
}

inline void expect_single_precision(const std::unique_ptr<kd::Loss>& loss, const Given& given,
                                    const at::Device& device) {
  const Given half = changed(given, device, [](const at::Tensor& t) { return t.to(at::kBFloat16); });
  const Given single = changed(half, device, [](const at::Tensor& t) { return t.to(at::kFloat); });
  const at::Tensor s = student().to(device, at::kBFloat16).requires_grad_(true);
  const at::Tensor result = value(loss, s, half);
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  EXPECT_TRUE(result.equal(value(loss, s.to(at::kFloat), single)));
  EXPECT_EQ(torch::autograd::grad({result}, {s})[0].scalar_type(), at::kBFloat16);
}

/// Also where all logits of a sample are equal.
inline void expect_finite_at_extremes(const std::unique_ptr<kd::Loss>& loss, const Given& given,
                                      const at::Device& device) {
  for (const double factor : {1e4, 0.0}) {
    const Given extreme = changed(given, device, [&](const at::Tensor& t) { return t * factor; });
    const at::Tensor s = student().to(device) * factor;
    EXPECT_TRUE(value(loss, s, extreme).isfinite().item<bool>()) << factor;
    EXPECT_TRUE(gradient(loss, s, extreme).isfinite().all().item<bool>()) << factor;
  }
}

/// Even where the teacher's logits carry one, as those of a peer may.
inline void expect_no_gradient_for_the_teacher(const std::unique_ptr<kd::Loss>& loss, const Given& given) {
  Given open = given;
  open.teacher = given.teacher.clone().requires_grad_(true);
  const at::Tensor s = student().requires_grad_(true);
  const auto gradients = torch::autograd::grad({value(loss, s, open)}, {s, open.teacher}, {}, {}, false, true);
  EXPECT_GT(gradients[0].abs().max().item<double>(), 0);
  EXPECT_FALSE(gradients[1].defined());
}

/// What every loss must do; `given` holds a teacher if and only if the loss needs one.
inline void expect_sound(const std::unique_ptr<kd::Loss>& loss, const Given& given) {
  EXPECT_EQ(loss->needs().teacher, given.teacher.defined());
  expect_exact_gradient(loss, given);
  for (const at::Device& device : kd::testing::devices()) {
    expect_single_precision(loss, given, device);
    expect_finite_at_extremes(loss, given, device);
  }
  if (given.teacher.defined()) expect_no_gradient_for_the_teacher(loss, given);
}

/// Where no sample has a label the value and its gradient are zero.
inline void expect_zero_without_labels(const std::unique_ptr<kd::Loss>& loss, Given given) {
  given.targets = hard(Labels(kRows, -1));
  EXPECT_EQ(value(loss, student(), given).item<double>(), 0);
  EXPECT_TRUE(gradient(loss, student(), given).eq(0).all().item<bool>());
}

}  // namespace kd::testing::losses
