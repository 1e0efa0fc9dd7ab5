// Tests of the analysis "agreement".
#include <cmath>

#include "kd/testing/analyses.h"

namespace {

using kd::testing::FakeAnalysisContext;
using kd::testing::number;

/// Logits whose softmax is these rows of two probabilities.
at::Tensor logits_of(const std::vector<double>& first) {
  std::vector<double> logits;
  for (const double p : first) {
    logits.push_back(std::log(p));
    logits.push_back(std::log(1 - p));
  }
  return at::tensor(logits, at::kFloat).view({-1, 2});
}

void add_teacher_and_two(FakeAnalysisContext& context) {
  context.add("teacher", "model", logits_of({0.9, 0.2, 0.6}), {0, 1, 0});
  context.add("student", "model", logits_of({0.8, 0.3, 0.6}), {0, 1, 0});
  context.add("alone", "model", logits_of({0.5, 0.9, 0.1}), {0, 1, 0});
}

const std::string kAgreement = "{ type = 'agreement', teacher = 'teacher' }";

double kl(double p, double q) { return p * std::log(p / q) + (1 - p) * std::log((1 - p) / (1 - q)); }

TEST(Agreement, AgreesWithNumbersByHand) {
  FakeAnalysisContext context;
  add_teacher_and_two(context);
  context.analyse(kAgreement);
  const kd::Table& table = context.tables.at("agreement_teacher");
  EXPECT_EQ(kd::testing::column_names(table), (std::vector<std::string>{"stage", "network", "agreement", "kl"}));
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0][0], kd::Cell("student"));
  EXPECT_NEAR(number(table, 0, "agreement"), 1, 1e-6);
  EXPECT_NEAR(number(table, 0, "kl"), (kl(0.9, 0.8) + kl(0.2, 0.3) + 0) / 3, 2e-6);
  EXPECT_EQ(table.rows[1][0], kd::Cell("alone"));
  EXPECT_NEAR(number(table, 1, "agreement"), 1 / 3.0, 1e-6);
  EXPECT_NEAR(number(table, 1, "kl"), (kl(0.9, 0.5) + kl(0.2, 0.9) + kl(0.6, 0.1)) / 3, 2e-6);
  EXPECT_EQ(context.shown.size(), 1U);
}

TEST(Agreement, LeavesOutNetworksOfOtherClasses) {
  FakeAnalysisContext context;
  add_teacher_and_two(context);
  context.add("other", "model", logits_of({0.8, 0.3, 0.6}), {1, 1, 0});
  context.add("named", "model", logits_of({0.8, 0.3, 0.6}), {0, 1, 0}).data_.class_names = {"x", "y"};
  context.analyse(kAgreement);
  EXPECT_EQ(context.tables.at("agreement_teacher").rows.size(), 2U);
}

TEST(Agreement, SaysWhichTeacherThereIsNot) {
  FakeAnalysisContext context;
  add_teacher_and_two(context);
  context.add("pair", "net", logits_of({0.8, 0.3, 0.6}), {0, 1, 0});
  context.add("pair", "net_2", logits_of({0.8, 0.3, 0.6}), {0, 1, 0});
  EXPECT_EQ(context.refusal("{ type = 'agreement', teacher = 'teachre' }"),
            "error: there is no stage 'teachre'\n    hint: did you mean 'teacher'?");
  EXPECT_EQ(context.refusal("{ type = 'agreement', teacher = 'pair' }"),
            "error: stage 'pair' has several networks: say which\n    hint: networks: net, net_2");
  EXPECT_EQ(context.refusal("{ type = 'agreement', teacher = 'pair', network = 'net_3' }"),
            "error: stage 'pair' has no network 'net_3'\n    hint: did you mean 'net_2'?");
}

}  // namespace
