// Tests of the loss "at".
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

/// mean_c |f|^p at each place, over its length.
std::vector<double> attention(const std::vector<std::vector<double>>& channels, double power) {
  std::vector<double> sums(channels[0].size(), 0);
  double squares = 0;
  for (std::size_t p = 0; p < sums.size(); ++p) {
    for (const auto& channel : channels) sums[p] += std::pow(std::abs(channel[p]), power) / double(channels.size());
    squares += sums[p] * sums[p];
  }
  for (double& sum : sums) sum /= std::sqrt(squares);
  return sums;
}

/// Mean over samples and places of the squared difference, or half the mean norm of it.
double reference(const at::Tensor& s, const at::Tensor& t, double power, bool paper) {
  const Numbers student = numbers(s), teacher = numbers(t);
  double sum = 0;
  for (std::size_t i = 0; i < student.size(); ++i) {
    const auto a = attention(student[i], power), b = attention(teacher[i], power);
    double squares = 0;
    for (std::size_t p = 0; p < a.size(); ++p) squares += (a[p] - b[p]) * (a[p] - b[p]);
    sum += paper ? std::sqrt(squares) / 2 : squares / double(a.size());
  }
  return sum / double(student.size());
}

TEST(AttentionTransfer, FollowsTheDefinition) {
  for (const bool paper : {false, true}) {
    for (const double power : {2.0, 3.0}) {
      Setting setting(
          "at", std::string("form = '") + (paper ? "paper" : "code") + "', power = " + std::to_string(power), wider());
      setting.make_double();
      double expected = 0;
      for (const std::string tap : {"stage1", "stage2", "stage3"})
        expected += reference(setting.student[tap], setting.teacher[tap], power, paper);
      EXPECT_NEAR(setting.value().item<double>(), expected, 1e-12);
    }
  }
}

TEST(AttentionTransfer, IsSound) {
  expect_sound("at");
  expect_sound("at", "form = 'paper', power = 1.5, taps = ['stage2']");
}

TEST(AttentionTransfer, OfEqualAttentionIsZero) {
  Setting setting("at", "", equal());
  setting.make_double();
  for (auto& [name, feature] : setting.teacher) feature = setting.student[name] * -3;
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-24);
}

TEST(AttentionTransfer, NamesTheFeatureThatIsNoMap) {
  expect_refusal("at", "taps = ['pooled']", equal(), "the feature 'pooled' of the student is a vector");
  expect_refusal("at", "taps = ['stage1', 'stage9']", equal(), "the student has no feature 'stage9'");
  expect_refusal("at", "taps = ['stage1'], teacher_taps = ['stage1', 'stage2']", equal(),
                 "taps names 1 feature(s) and teacher_taps 2");
}

}  // namespace
