// Tests of the loss "rld".
#include <algorithm>

#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

Row kept(const Row& logits, const Row& teacher, std::size_t label) {
  Row result;
  for (std::size_t c = 0; c < logits.size(); ++c) {
    if (teacher[c] < teacher[label]) result.push_back(logits[c]);
  }
  return result;
}

double reference(const Labels& labels) {
  const Rows s = rows(student()), t = rows(teacher());
  return mean_of_labelled(labels, [&](std::size_t i, std::int64_t label) {
    const auto y = static_cast<std::size_t>(label);
    const Row p = softmax(s[i], 2), q = softmax(t[i], 2);
    const double most = *std::max_element(q.begin(), q.end());
    double value = 1.5 * 4 * divergence({most, 1 - most}, {p[y], 1 - p[y]});
    const Row q_other = kept(t[i], t[i], y);
    if (!q_other.empty()) value += 3 * 9 * divergence(softmax(q_other, 3), softmax(kept(s[i], t[i], y), 3));
    return value;
  });
}

const std::string kParameters = "alpha = 1.5, beta = 3, temperature = 3, confidence_temperature = 2, warmup = 0";

TEST(Rld, FollowsTheDefinition) {
  for (const Labels& labels : {kLabels, kSomeLabels})
    expect_value(make("rld", kParameters), {.teacher = teacher(), .targets = hard(labels)}, reference(labels));
}

TEST(Rld, IsSound) {
  for (const Labels& labels : {kLabels, kSomeLabels})
    expect_sound(make("rld", kParameters), {.teacher = teacher(), .targets = hard(labels)});
}

TEST(Rld, WhereTheLabelIsTheTeachersChoiceIsDkdWithoutTheLastFactor) {
  const at::Tensor s = student().to(at::kDouble), t = teacher().to(at::kDouble);
  const at::Tensor most = t.argmax(1);
  const Given given{.teacher = t, .targets = {.labels = most, .partner = {}, .weight = {}}};
  const std::string factors = "alpha = 1, beta = 2, temperature = 4, warmup = 0";
  EXPECT_NEAR(value(make("rld", factors + ", confidence_temperature = 4"), s, given).item<double>(),
              value(make("dkd", factors), s, given).item<double>(), 1e-10);
}

TEST(Rld, LeavesOutSamplesWithoutLabel) {
  expect_zero_without_labels(make("rld", kParameters), {.teacher = teacher()});
  EXPECT_TRUE(make("rld")->needs().one_label);
}

}  // namespace
