// Tests of the loss "nkd".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

/// −q ln p at the label at T = 1, and −Σ N(q) ln N(p) over the other classes at λ.
double reference(const Labels& labels, double gamma, double lambda) {
  const Rows s = rows(student()), t = rows(teacher());
  return mean_of_labelled(labels, [&](std::size_t i, std::int64_t label) {
    const auto at_label = static_cast<std::size_t>(label);
    const Row p = softmax(without(s[i], label), lambda), q = softmax(without(t[i], label), lambda);
    double others = 0;
    for (std::size_t c = 0; c < p.size(); ++c) others -= q[c] * std::log(p[c]);
    return -softmax(t[i])[at_label] * std::log(softmax(s[i])[at_label]) + gamma * lambda * lambda * others;
  });
}

TEST(Nkd, FollowsTheDefinition) {
  for (const Labels& labels : {kLabels, kSomeLabels}) {
    const Given given{.teacher = teacher(), .targets = hard(labels)};
    expect_value(make("nkd"), given, reference(labels, 1.5, 1));
    expect_value(make("nkd", "gamma = 0.7, temperature = 3"), given, reference(labels, 0.7, 3));
  }
}

TEST(Nkd, IsSound) {
  for (const Labels& labels : {kLabels, kSomeLabels}) {
    expect_sound(make("nkd", "temperature = 2"), {.teacher = teacher(), .targets = hard(labels)});
  }
}

TEST(Nkd, WithoutGammaPullsTheLabelByTheTeachersConfidence) {
  const Rows p = softmax(student()), q = softmax(teacher());
  const Given given{.teacher = teacher().to(at::kDouble), .targets = hard(kLabels)};
  const Rows actual = rows(gradient(make("nkd", "gamma = 0"), student().to(at::kDouble), given));
  for (std::size_t i = 0; i < p.size(); ++i) {
    const auto label = static_cast<std::size_t>(kLabels[i]);
    for (std::size_t c = 0; c < p[i].size(); ++c) {
      EXPECT_NEAR(actual[i][c], q[i][label] * (p[i][c] - (c == label ? 1 : 0)) / kRows, 1e-12);
    }
  }
}

TEST(Nkd, LeavesOutSamplesWithoutLabel) {
  expect_zero_without_labels(make("nkd"), {.teacher = teacher()});
  EXPECT_TRUE(make("nkd")->needs().one_label);
}

}  // namespace
