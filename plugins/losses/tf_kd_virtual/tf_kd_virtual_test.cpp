// Tests of the loss "tf_kd_virtual".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

/// The virtual teacher before it is softened: 0.9 at the label, the rest shared evenly.
Row virtual_teacher(std::int64_t label) {
  Row u(kClasses, 0.1 / (kClasses - 1));
  u[static_cast<std::size_t>(label)] = 0.9;
  return u;
}

/// T² · KL of u^(1/T), normalised, and the student at T.
double softened(std::size_t i, std::int64_t label, double t) {
  Row q = virtual_teacher(label);
  for (double& x : q) x = std::log(x);
  return t * t * divergence(softmax(q, t), softmax(student(), t)[i]);
}

/// As the released code: the probabilities divided by T are the teacher's logits, and the student has no temperature.
double released(std::size_t i, std::int64_t label, double t) {
  return divergence(softmax(virtual_teacher(label), t), softmax(student())[i]);
}

TEST(TfKdVirtual, FollowsThePaper) {
  for (const double t : {1.0, 5.0}) {
    const auto loss = make("tf_kd_virtual", "correct = 0.9, temperature = " + std::to_string(t));
    for (const Labels& labels : {kLabels, kSomeLabels}) {
      expect_value(loss, {.teacher = {}, .targets = hard(labels)},
                   mean_of_labelled(labels, [&](std::size_t i, std::int64_t label) { return softened(i, label, t); }));
    }
  }
}

TEST(TfKdVirtual, FollowsTheReleasedCodeWhereAsked) {
  const auto loss = make("tf_kd_virtual", "correct = 0.9, temperature = 5, form = 'released', reduction = 'mean'");
  const auto row = [&](std::size_t i, std::int64_t label) { return released(i, label, 5) / kClasses; };
  expect_value(loss, {.teacher = {}, .targets = hard(kLabels)}, mean_of_labelled(kLabels, row));
}

TEST(TfKdVirtual, WeighsTheTeachersOfMixedSamples) {
  const auto loss = make("tf_kd_virtual", "correct = 0.9, temperature = 5");
  Row values;
  for (std::size_t i = 0; i < kLabels.size(); ++i) {
    if (kPartners[i] < 0) continue;
    values.push_back(kWeights[i] * softened(i, kLabels[i], 5) + (1 - kWeights[i]) * softened(i, kPartners[i], 5));
  }
  expect_value(loss, {.teacher = {}, .targets = mixed()}, mean(values));
}

TEST(TfKdVirtual, IsZeroWhereTheStudentIsTheTeacher) {
  Rows logits;
  for (const std::int64_t label : kLabels) {
    Row row = virtual_teacher(label);
    for (double& x : row) x = std::log(x) + 4;
    logits.push_back(row);
  }
  const auto loss = make("tf_kd_virtual", "correct = 0.9, temperature = 20");
  const Given given{.teacher = {}, .targets = hard(kLabels)};
  EXPECT_NEAR(value(loss, matrix(logits), given).item<double>(), 0, 1e-11);
  EXPECT_LT(gradient(loss, matrix(logits), given).abs().max().item<double>(), 1e-12);
}

TEST(TfKdVirtual, IsSound) {
  for (const kd::Targets& targets : {hard(kLabels), hard(kSomeLabels), mixed()}) {
    expect_sound(make("tf_kd_virtual"), {.teacher = {}, .targets = targets});
    expect_sound(make("tf_kd_virtual", "form = 'released', reduction = 'mean'"), {.teacher = {}, .targets = targets});
  }
}

TEST(TfKdVirtual, LeavesOutSamplesWithoutLabel) { expect_zero_without_labels(make("tf_kd_virtual"), {}); }

}  // namespace
