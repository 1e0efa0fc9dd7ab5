// Tests of what the training records of an epoch: means over samples, and over those with a label.
#include "engine/meter.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace kd {
namespace {

Term term(const std::string& name, double value, double weight, bool labelled_rows_only) {
  return {.name = name,
          .value = torch::tensor(value, torch::kFloat),
          .weight = weight,
          .labelled_rows_only = labelled_rows_only};
}

/// Logits that answer class 0.
at::Tensor answers(std::int64_t rows) { return torch::tensor({1.0F, 0.0F}).expand({rows, 2}); }

Targets targets(const std::vector<std::int64_t>& labels) {
  return {.labels = torch::tensor(labels, torch::kLong), .partner = {}, .weight = {}};
}

TEST(TrainingMeter, WeighsEachBatchByItsRows) {
  TrainingMeter meter;
  EXPECT_TRUE(meter.means().empty());
  meter.add({term("kd", 2, 0.5, false), term("ce", 1, 3, true)}, answers(4), targets({0, 0, 1, 0}));
  meter.add({term("kd", 5, 0.5, false), term("ce", 4, 3, true)}, answers(2), targets({1, 1}));
  const std::map<std::string, double> wanted{{"loss", 0.5 * 3 + 3 * 2}, {"loss/ce", 2}, {"loss/kd", 3}, {"top1", 0.5}};
  EXPECT_EQ(meter.means(), wanted);
}

TEST(TrainingMeter, NeedNotCountWhatIsAllLabelled) {
  TrainingMeter counted, known;
  for (TrainingMeter* meter : {&counted, &known}) {
    const bool all_labelled = meter == &known;
    meter->add({term("kd", 2, 0.5, false), term("ce", 1, 3, true)}, answers(4), targets({0, 0, 1, 0}), all_labelled);
    meter->add({term("kd", 5, 0.5, false), term("ce", 4, 3, true)}, answers(2), targets({1, 1}), all_labelled);
  }
  EXPECT_EQ(counted.means(), known.means());
}

TEST(TrainingMeter, WeighsTermsOfLabelledRowsByThese) {
  TrainingMeter meter;
  meter.add({term("kd", 2, 0.5, false), term("ce", 1, 3, true)}, answers(4), targets({0, -1, -1, -1}));
  meter.add({term("kd", 2, 0.5, false), term("ce", 5, 3, true)}, answers(4), targets({0, 1, 1, -1}));
  const auto means = meter.means();
  EXPECT_DOUBLE_EQ(means.at("loss/kd"), 2);
  EXPECT_DOUBLE_EQ(means.at("loss/ce"), (1.0 * 1 + 3.0 * 5) / 4) << "one row and three, not four and four";
  EXPECT_DOUBLE_EQ(means.at("loss"), 0.5 * 2 + 3 * 4);
  EXPECT_DOUBLE_EQ(means.at("top1"), 0.5);
}

TEST(TrainingMeter, TakesAMixedRowForUnlabelledWhereEitherPartIs) {
  TrainingMeter meter;
  Targets mixed = targets({0, 0, -1, 1});
  mixed.partner = torch::tensor({1, -1, 0, 0}, torch::kLong);
  mixed.weight = torch::full({4}, 0.75);
  meter.add({term("ce", 2, 1, true)}, answers(4), mixed);
  meter.add({term("ce", 5, 1, true)}, answers(1), targets({0}));
  const auto means = meter.means();
  EXPECT_DOUBLE_EQ(means.at("loss/ce"), (2.0 * 2 + 5) / 3) << "the first and the last row, and one more";
  EXPECT_DOUBLE_EQ(means.at("top1"), (0.75 + 0.25 + 1) / 3);
}

TEST(TrainingMeter, HasNoAccuracyWhereNothingHasALabel) {
  TrainingMeter meter;
  meter.add({term("kd", 2, 0.5, false), term("ce", 0, 1, true)}, answers(2), targets({-1, -1}));
  const std::map<std::string, double> wanted{{"loss", 1}, {"loss/ce", 0}, {"loss/kd", 2}};
  EXPECT_EQ(meter.means(), wanted);
}

TEST(TrainingMeter, GoesOnFromItsState) {
  TrainingMeter whole, begun, resumed;
  const std::vector<Term> first{term("kd", 2, 0.5, false), term("ce", 1, 3, true)};
  const std::vector<Term> second{term("kd", 7, 0.25, false), term("ce", 3, 3, true)};
  for (TrainingMeter* meter : {&whole, &begun}) meter->add(first, answers(3), targets({0, -1, 1}));
  resumed.restore("meter.a.", begun.state("meter.a.", Group::alone()));
  for (TrainingMeter* meter : {&whole, &resumed}) meter->add(second, answers(2), targets({-1, 0}));
  EXPECT_EQ(whole.means(), resumed.means());
}

}  // namespace
}  // namespace kd
