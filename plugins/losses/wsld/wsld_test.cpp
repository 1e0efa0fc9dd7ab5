// Tests of the loss "wsld".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

double reference(const Labels& labels) {
  const Rows p1 = softmax(student()), q1 = softmax(teacher()), p = softmax(student(), 3.0), q = softmax(teacher(), 3.0);
  return 9 * mean_of_labelled(labels, [&](std::size_t i, std::int64_t label) {
           const auto y = static_cast<std::size_t>(label);
           double entropy = 0;
           for (std::size_t c = 0; c < p[i].size(); ++c) entropy -= q[i][c] * std::log(p[i][c]);
           return entropy * (1 - std::exp(std::log(p1[i][y]) / (-std::log(q1[i][y]) + 1e-7)));
         });
}

TEST(Wsld, FollowsTheDefinition) {
  for (const Labels& labels : {kLabels, kSomeLabels})
    expect_value(make("wsld", "temperature = 3"), {.teacher = teacher(), .targets = hard(labels)}, reference(labels));
}

/// The weight has no gradient, so that finite differences see another one: of what has none, they are right.
TEST(Wsld, TeachesAsSoftTargetsWithItsWeights) {
  const auto loss = make("wsld", "temperature = 3");
  const Given given{.teacher = teacher().to(at::kDouble), .targets = hard(kLabels)};
  const at::Tensor s = student().to(at::kDouble);
  const Rows p1 = softmax(s), q1 = softmax(given.teacher), p = softmax(s, 3.0), q = softmax(given.teacher, 3.0);
  Rows expected = p;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const auto y = static_cast<std::size_t>(kLabels[i]);
    const double weight = 1 - std::exp(std::log(p1[i][y]) / (-std::log(q1[i][y]) + 1e-7));
    for (std::size_t c = 0; c < p[i].size(); ++c) expected[i][c] = weight * 3 * (p[i][c] - q[i][c]) / kRows;
  }
  EXPECT_LT((gradient(loss, s, given) - matrix(expected)).abs().max().item<double>(), 1e-12);
}

TEST(Wsld, KeepsItsHeadAtExtremes) {
  for (const kd::Targets& targets : {hard(kSomeLabels), mixed()}) {
    const Given given{.teacher = teacher(), .targets = targets};
    for (const at::Device& device : kd::testing::devices()) {
      expect_single_precision(make("wsld"), given, device);
      expect_finite_at_extremes(make("wsld"), given, device);
    }
    expect_no_gradient_for_the_teacher(make("wsld"), given);
  }
  expect_zero_without_labels(make("wsld"), {.teacher = teacher()});
}

}  // namespace
