// Tests of the loss "dkd".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

constexpr double kAlpha = 1.5, kBeta = 3, kTemperature = 2.5;
const std::string kFactors = "alpha = 1.5, beta = 3, temperature = 2.5";

double target_divergence(const Row& q, const Row& p, std::int64_t label) {
  const double q_label = q[static_cast<std::size_t>(label)], p_label = p[static_cast<std::size_t>(label)];
  return divergence({q_label, 1 - q_label}, {p_label, 1 - p_label});
}

/// TCKD·α + NCKD·β at T, times T².
double reference(const Rows& s, const Rows& t, const Labels& labels) {
  return kTemperature * kTemperature * mean_of_labelled(labels, [&](std::size_t i, std::int64_t label) {
           const Row p = softmax(s[i], kTemperature), q = softmax(t[i], kTemperature);
           const Row p_other = softmax(without(s[i], label), kTemperature);
           const Row q_other = softmax(without(t[i], label), kTemperature);
           return kAlpha * target_divergence(q, p, label) + kBeta * divergence(q_other, p_other);
         });
}

TEST(Dkd, FollowsTheDefinition) {
  const auto loss = make("dkd", kFactors + ", warmup = 0");
  for (const Labels& labels : {kLabels, kSomeLabels}) {
    const Given given{.teacher = teacher(), .targets = hard(labels)};
    expect_value(loss, given, reference(rows(student()), rows(teacher()), labels));
  }
}

TEST(Dkd, StandardisesTheLogitsWhereAsked) {
  const auto loss = make("dkd", kFactors + ", warmup = 0, per_sample = 'standardized'");
  const Given given{.teacher = teacher().to(at::kDouble), .targets = hard(kLabels)};
  EXPECT_NEAR(value(loss, student().to(at::kDouble), given).item<double>(),
              reference(standardised(student()), standardised(teacher()), kLabels), 1e-5);
}

TEST(Dkd, IsSound) {
  for (const Labels& labels : {kLabels, kSomeLabels}) {
    expect_sound(make("dkd", kFactors), {.teacher = teacher(), .targets = hard(labels)});
  }
}

TEST(Dkd, WithTheTeachersDoubtAsBetaIsTheirDivergence) {
  const at::Tensor s = student().to(at::kDouble).slice(0, 0, 1), t = teacher().to(at::kDouble).slice(0, 0, 1);
  const double doubt = 1 - softmax(t, 4.0)[0][static_cast<std::size_t>(kLabels[0])];
  const auto dkd = make("dkd", "warmup = 0, temperature = 4, alpha = 1, beta = " + std::to_string(doubt));
  const Given given{.teacher = t, .targets = hard({kLabels[0]})};
  EXPECT_NEAR(value(dkd, s, given).item<double>(), value(make("kd", "temperature = 4"), s, given).item<double>(), 1e-4);
}

TEST(Dkd, GrowsOverTheFirstEpochs) {
  const auto loss = make("dkd");
  const auto at_epoch = [&](std::int64_t epoch) {
    const Given given{.teacher = teacher(),
                      .targets = hard(kLabels),
                      .views = {},
                      .time = {.step = epoch * 10 + 7, .steps_per_epoch = 10, .epochs = 240}};
    return value(loss, student().to(at::kDouble), given).item<double>();
  };
  const double full = at_epoch(200);
  EXPECT_GT(full, 0.1);
  EXPECT_NEAR(at_epoch(0), full / 20, 1e-12);
  EXPECT_NEAR(at_epoch(9), full / 2, 1e-12);
  EXPECT_NEAR(at_epoch(19), full, 1e-12);
}

TEST(Dkd, LeavesOutSamplesWithoutLabel) {
  expect_zero_without_labels(make("dkd", "warmup = 0"), {.teacher = teacher()});
  EXPECT_TRUE(make("dkd")->needs().one_label);
}

}  // namespace
