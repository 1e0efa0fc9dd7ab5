// Tests of the analysis "calibration".
#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "../shared/fake_context.h"

namespace {

using analysis_checks::FakeContext;

void analyse(FakeContext& context, const std::string& parameters = "") {
  kd::load_plugins();
  kd::make<kd::Analysis>("{ type = 'calibration'" + parameters + " }")->run(context);
}

/// Two classes, the first of which the network says with this probability.
at::Tensor logits_of(const std::vector<double>& probabilities) {
  std::vector<double> flat;
  for (const double p : probabilities) flat.insert(flat.end(), {std::log(p), std::log(1 - p)});
  return at::tensor(flat, at::kDouble).view({-1, 2});
}

const std::vector<double> kProbabilities = {0.6, 0.7, 0.8, 0.9};
const std::vector<std::int64_t> kLabels = {0, 1, 0, 0};

TEST(CalibrationAnalysis, WritesARowForEachNetwork) {
  FakeContext context;
  context.add("teacher", "net", logits_of(kProbabilities), kLabels);
  context.add("student", "small", logits_of(kProbabilities) * 2, kLabels);
  analyse(context, ", bins = 4, diagrams = false");
  ASSERT_EQ(context.files.size(), 1U);
  const auto rows = analysis_checks::split_csv(context.files["calibration.csv"]);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0],
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
  EXPECT_EQ(rows[1][0] + "/" + rows[1][1], "teacher/net");
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(std::stod(rows[1][i + 3]), expected[i], 1e-6) << i;
  EXPECT_EQ(rows[2][0] + "/" + rows[2][1], "student/small");
  EXPECT_GT(std::stod(rows[2][10]), 0.0);
  EXPECT_LT(std::stod(rows[2][12]), std::stod(rows[1][12])) << "sharper logits have less entropy";
  EXPECT_NE(context.printed.find("teacher/net"), std::string::npos);
  EXPECT_NE(context.printed.find(" 0.1500"), std::string::npos) << context.printed;
}

TEST(CalibrationAnalysis, FitsOnValidationAndMeasuresOnTest) {
  std::vector<double> drawn;  // 0.8, and right in four of five
  std::vector<std::int64_t> labels;
  for (int i = 0; i < 10; ++i) {
    drawn.push_back(0.8);
    labels.push_back(i % 5 == 0 ? 1 : 0);
  }
  FakeContext context;
  kd::AnalysedNetwork& network = context.add("only", "net", logits_of(kProbabilities) * 3, kLabels);
  network.validation_logits = logits_of(drawn) * 3;
  network.validation_labels = at::tensor(labels, at::kLong);
  analyse(context, ", bins = 4, diagrams = false");
  const auto rows = analysis_checks::split_csv(context.files["calibration.csv"]);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[1][2], "none");
  EXPECT_EQ(rows[2][2], "temperature") << "rows of one network have different names";
  EXPECT_EQ(rows[1][3], "1.000000");
  EXPECT_EQ(rows[2][3], "3.000000");
  EXPECT_EQ(rows[1][4], rows[2][4]);
  EXPECT_NEAR(std::stod(rows[2][5]), 0.15, 1e-6);  // of kProbabilities themselves
}

TEST(CalibrationAnalysis, HasTheFloorRule) {
  FakeContext context;
  context.add("only", "net", at::tensor({40.0F, 0.0F}).view({1, 2}), {1});
  analyse(context, ", diagrams = false");
  EXPECT_EQ(analysis_checks::split_csv(context.files["calibration.csv"])[1][5], "1.000000");
  analyse(context, ", diagrams = false, bins = 100, rule = 'floor'");
  EXPECT_EQ(analysis_checks::split_csv(context.files["calibration.csv"])[1][5], "0.000000");
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(CalibrationAnalysis, DrawsADiagramOfEachNetwork) {
  FakeContext context;
  context.add("a", "net", logits_of(kProbabilities), kLabels);
  context.add("b", "net", logits_of(kProbabilities), kLabels);
  analyse(context, ", bins = 4");
  ASSERT_EQ(context.files.size(), 5U);
  const std::string& svg = context.files["reliability_a_net.svg"];
  EXPECT_NE(svg.find(">a/net: ECE 0.1500</text>"), std::string::npos) << svg;
  // Accuracy bar and gap bar of two bins, and their bars in the histogram; the empty bins have one each.
  EXPECT_EQ(count(svg, "0.5000 to 0.7500: 2 samples, accuracy 0.5000, confidence 0.6500</title>"), 3U) << svg;
  EXPECT_EQ(count(svg, "0.7500 to 1.0000: 2 samples, accuracy 1.0000, confidence 0.8500</title>"), 3U) << svg;
  EXPECT_EQ(count(svg, "<title>"), 8U);
  // Half of 320 pixels high, from the middle down: the accuracy of the third of four bins.
  EXPECT_NE(svg.find("<rect x=\"216\" y=\"208\" width=\"80\" height=\"160\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("mean confidence 0.7500"), std::string::npos) << svg;
  EXPECT_EQ(count(svg, "<rect"), count(svg, "</rect>") + 1);
  const std::string& png = context.files["reliability_a_net.png"];
  EXPECT_EQ(png.substr(1, 3), "PNG");
  EXPECT_EQ(png, context.files["reliability_b_net.png"]) << "the pixels show the numbers, not the names";
  EXPECT_NE(svg, context.files["reliability_b_net.svg"]);
}

TEST(CalibrationAnalysis, ChecksItsParameters) {
  FakeContext context;
  EXPECT_THROW(analyse(context, ", bins = 0"), kd::RecipeError);
  EXPECT_THROW(analyse(context, ", rule = 'round'"), kd::RecipeError);
}

}  // namespace
