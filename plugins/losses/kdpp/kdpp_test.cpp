// Tests of the loss "kdpp".
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;
using kd::testing::Rows;
using kd::testing::rows;

double product(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
  return sum;
}

TEST(NormAndDirection, FollowsTheDefinition) {
  Setting setting("kdpp", "", equal(), 7);  // of 5 classes: two samples each of classes 0 and 1
  setting.make_double();
  const Rows s = rows(setting.student["pooled"]), t = rows(setting.teacher["pooled"]);
  double sum = 0;
  for (std::size_t i = 0; i < 7; ++i) {
    std::vector<double> centre(6, 0);
    for (std::size_t j = i % 5; j < 7; j += 5) {
      for (std::size_t d = 0; d < 6; ++d) centre[d] += t[j][d];
    }
    const double longest = std::sqrt(std::max(product(s[i], s[i]), product(t[i], t[i])));
    sum += 1 - product(s[i], centre) / std::sqrt(product(centre, centre)) / longest;
  }
  EXPECT_NEAR(setting.value().item<double>(), sum / 7, 1e-12);
}

TEST(NormAndDirection, RemembersTheTeachersVectorsOfEachClass) {
  Setting setting("kdpp", "", equal(), 5);
  setting.make_double();
  setting.step(setting.student, setting.teacher);
  setting.step(setting.student, setting.teacher);
  const at::Tensor sums = kd::testing::buffers_of(setting.loss()).at("sums");
  EXPECT_LT((sums - setting.teacher["pooled"] * 2).abs().max().item<double>(), 1e-12);
}

TEST(NormAndDirection, IsSound) { expect_sound("kdpp"); }

TEST(NormAndDirection, LeavesOutSamplesWithoutLabel) {
  Setting setting("kdpp", "", equal(), 5);
  setting.make_double();
  setting.batch.targets.labels = setting.batch.targets.labels * 0 - 1;
  EXPECT_EQ(setting.step(setting.student, setting.teacher).item<double>(), 0);
  EXPECT_EQ(kd::testing::buffers_of(setting.loss()).at("sums").abs().max().item<double>(), 0);
  EXPECT_TRUE(setting.loss().needs().one_label);
}

TEST(NormAndDirection, AlongTheCentreAndAsLongAsTheTeacherIsZero) {
  Setting setting("kdpp", "", equal(), 3);  // one sample of each class is its own centre
  setting.make_double();
  setting.student["pooled"] = setting.teacher["pooled"];
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-14);
}

}  // namespace
