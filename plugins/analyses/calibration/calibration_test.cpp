// Tests of the analysis "calibration".
#include <cmath>

#include "kd/tensor.h"
#include "kd/testing/analyses.h"

namespace {

using kd::testing::FakeAnalysisContext;
using kd::testing::number;

std::string toml(const std::string& parameters = "") { return "{ type = 'calibration'" + parameters + " }"; }

/// Two classes, the first of which the network says with this probability.
at::Tensor logits_of(const std::vector<double>& probabilities) {
  std::vector<double> flat;
  for (const double p : probabilities) flat.insert(flat.end(), {std::log(p), std::log(1 - p)});
  return at::tensor(flat, at::kDouble).view({-1, 2});
}

const std::vector<double> kProbabilities = {0.6, 0.7, 0.8, 0.9};
const std::vector<std::int64_t> kLabels = {0, 1, 0, 0};

TEST(CalibrationAnalysis, WritesARowForEachNetwork) {
  FakeAnalysisContext context;
  context.add("teacher", "net", logits_of(kProbabilities), kLabels);
  context.add("student", "small", logits_of(kProbabilities) * 2, kLabels);
  context.analyse(toml(", bins = 4, diagrams = false"));
  EXPECT_TRUE(context.figures.empty());
  const kd::Table& table = context.tables.at("calibration");
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"stage", "network", "scaling", "temperature", "accuracy", "ece", "adaptive_ece",
                                      "classwise_ece", "mce", "oe", "nll", "brier", "entropy"}));
  // Bins (0.5, 0.75]: accuracy 0.5, confidence 0.65; (0.75, 1]: 1 and 0.85. Of each class the same gaps.
  const double nll = -(std::log(0.6) + std::log(0.3) + std::log(0.8) + std::log(0.9)) / 4;
  const std::vector<double> expected = {1,
                                        0.75,
                                        0.15,
                                        (0.4 + 0.7 + 0.2 + 0.1) / 4,
                                        0.15,
                                        0.15,
                                        0.5 * 0.65 * 0.15,
                                        nll,
                                        2 * (0.16 + 0.49 + 0.04 + 0.01) / 4};
  EXPECT_EQ(table.rows[0][0], kd::Cell("teacher"));
  EXPECT_EQ(table.rows[0][1], kd::Cell("net"));
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(table.rows[0][i + 3].number(), expected[i], 1e-6) << i;
  EXPECT_EQ(table.rows[1][0], kd::Cell("student"));
  EXPECT_GT(number(table, 1, "nll"), 0.0);
  EXPECT_LT(number(table, 1, "entropy"), number(table, 0, "entropy")) << "sharper logits have less entropy";
  EXPECT_EQ(context.shown.size(), 1U);
}

TEST(CalibrationAnalysis, FitsOnValidationAndMeasuresOnTest) {
  std::vector<double> drawn;  // 0.8, and right in four of five
  std::vector<std::int64_t> labels;
  for (int i = 0; i < 10; ++i) {
    drawn.push_back(0.8);
    labels.push_back(i % 5 == 0 ? 1 : 0);
  }
  FakeAnalysisContext context;
  kd::testing::FakeModel& network = context.add("only", "net", logits_of(kProbabilities) * 3, kLabels);
  network.answers[kd::Split::kValidation] = logits_of(drawn) * 3;
  network.truths[kd::Split::kValidation] = at::tensor(labels, at::kLong);
  context.analyse(toml(", bins = 4, diagrams = false"));
  const kd::Table& table = context.tables.at("calibration");
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0][2], kd::Cell("none"));
  EXPECT_EQ(table.rows[1][2], kd::Cell("temperature")) << "rows of one network have different names";
  EXPECT_EQ(number(table, 0, "temperature"), 1);
  EXPECT_NEAR(number(table, 1, "temperature"), 3, 1e-6);
  EXPECT_EQ(number(table, 0, "accuracy"), number(table, 1, "accuracy"));
  EXPECT_NEAR(number(table, 1, "ece"), 0.15, 1e-6);  // of kProbabilities themselves
}

TEST(CalibrationAnalysis, HasTheFloorRule) {
  FakeAnalysisContext context;
  context.add("only", "net", at::tensor({40.0F, 0.0F}).view({1, 2}), {1});
  context.analyse(toml(", diagrams = false"));
  EXPECT_EQ(number(context.tables.at("calibration"), 0, "ece"), 1);
  context.analyse(toml(", diagrams = false, bins = 100, rule = 'floor'"));
  EXPECT_EQ(number(context.tables.at("calibration"), 0, "ece"), 0);
}

TEST(CalibrationAnalysis, DrawsADiagramOfEachNetwork) {
  FakeAnalysisContext context;
  context.add("a", "net", logits_of(kProbabilities), kLabels);
  context.add("b", "net", logits_of(kProbabilities), kLabels);
  context.analyse(toml(", bins = 4"));
  ASSERT_EQ(context.figures.size(), 2U);
  const kd::Figure& figure = context.figures.at("reliability_a_net");
  EXPECT_NE(figure.title.find("a/net"), std::string::npos);
  ASSERT_EQ(figure.panels.size(), 2U);
  EXPECT_EQ(figure.panels[0].x.title, "confidence");
  EXPECT_EQ(figure.panels[0].notes[0], "ECE 0.1500");
  // The third and the fourth of four bins hold two samples each.
  const auto& accuracy = std::get<kd::Bars>(figure.panels[0].marks[0]);
  EXPECT_EQ(accuracy.left, (std::vector<double>{0.5, 0.75}));
  EXPECT_EQ(accuracy.right, (std::vector<double>{0.75, 1}));
  EXPECT_EQ(accuracy.top, (std::vector<double>{0.5, 1}));
  const auto& gap = std::get<kd::Bars>(figure.panels[0].marks[1]);
  EXPECT_EQ(gap.bottom, accuracy.top);
  EXPECT_NEAR(gap.top[0], 0.65, 1e-9);
  EXPECT_NEAR(gap.top[1], 0.85, 1e-9);
  EXPECT_EQ(std::get<kd::Bars>(figure.panels[1].marks[0]).top, (std::vector<double>{0, 0, 0.5, 0.5}));
}

TEST(CalibrationAnalysis, ChecksItsParameters) {
  FakeAnalysisContext context;
  EXPECT_NE(context.refusal(toml(", bins = 0")), "");
  EXPECT_NE(context.refusal(toml(", rule = 'round'")), "");
}

}  // namespace
