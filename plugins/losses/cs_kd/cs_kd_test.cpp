// Tests of the loss "cs_kd".
#include "kd/testing/losses.h"

namespace {

using namespace kd::testing::losses;

Given pairs(const Labels& labels) {
  return {.teacher = {}, .targets = hard(labels), .views = {{"same_class", teacher()}}};
}

TEST(CsKd, FollowsTheDefinition) {
  for (const double t : {1.0, 4.0}) {
    const Rows p = softmax(student(), t), q = softmax(teacher(), t);
    const auto loss = make("cs_kd", "temperature = " + std::to_string(t));
    for (const Labels& labels : {kLabels, kSomeLabels}) {
      const auto row = [&](std::size_t i, std::int64_t) { return t * t * divergence(q[i], p[i]); };
      expect_value(loss, pairs(labels), mean_of_labelled(labels, row));
    }
  }
}

TEST(CsKd, IsSound) { expect_sound(make("cs_kd"), pairs(kSomeLabels)); }

TEST(CsKd, DoesNotTeachThroughTheOtherSample) {
  Given given = pairs(kLabels);
  const at::Tensor other = teacher().requires_grad_(true);
  given.views[0].logits = other;
  const at::Tensor s = student().requires_grad_(true);
  const auto gradients = torch::autograd::grad({value(make("cs_kd"), s, given)}, {s, other}, {}, {}, false, true);
  EXPECT_TRUE(gradients[0].defined());
  EXPECT_FALSE(gradients[1].defined());
}

TEST(CsKd, AsksForASampleOfTheSameClassWithoutGradient) {
  const kd::LossNeeds needs = make("cs_kd")->needs();
  ASSERT_EQ(needs.views.size(), 1U);
  EXPECT_EQ(needs.views[0].name, "same_class");
  EXPECT_FALSE(needs.views[0].gradient);
  EXPECT_TRUE(needs.one_label);
  EXPECT_FALSE(needs.teacher);
}

TEST(CsKd, LeavesOutSamplesWithoutLabel) { expect_zero_without_labels(make("cs_kd"), pairs(kLabels)); }

}  // namespace
