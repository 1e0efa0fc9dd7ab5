// Tests of the analysis "agreement".
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "../shared/fake_context.h"

namespace {

using analysis_checks::FakeContext;
using analysis_checks::split_csv;

/// Logits whose softmax is these rows of two probabilities.
at::Tensor logits_of(const std::vector<double>& first) {
  std::vector<double> logits;
  for (const double p : first) {
    logits.push_back(std::log(p));
    logits.push_back(std::log(1 - p));
  }
  return at::tensor(logits, at::kFloat).view({-1, 2});
}

FakeContext teacher_and_two() {
  FakeContext context;
  context.add("teacher", "model", logits_of({0.9, 0.2, 0.6}), {0, 1, 0});
  context.add("student", "model", logits_of({0.8, 0.3, 0.6}), {0, 1, 0});
  context.add("alone", "model", logits_of({0.5, 0.9, 0.1}), {0, 1, 0});
  return context;
}

void analyse(kd::AnalysisContext& context, const std::string& parameters) {
  kd::load_plugins();
  const auto analysis = kd::make<kd::Analysis>("{ type = 'agreement', " + parameters + " }");
  std::vector<kd::NetworkName> names;
  for (const kd::AnalysedNetwork& one : context.networks()) names.push_back({one.stage, one.network});
  analysis->check(names);
  analysis->run(context);
}

std::string error_of(kd::AnalysisContext& context, const std::string& parameters) {
  try {
    analyse(context, parameters);
  } catch (const kd::RecipeError& error) {
    return error.what();
  }
  return "";
}

double kl(double p, double q) { return p * std::log(p / q) + (1 - p) * std::log((1 - p) / (1 - q)); }

TEST(Agreement, AgreesWithNumbersByHand) {
  FakeContext context = teacher_and_two();
  analyse(context, "teacher = 'teacher'");
  const auto lines = split_csv(context.files.at("agreement_teacher.csv"));
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0], (std::vector<std::string>{"stage", "network", "agreement", "kl"}));
  EXPECT_EQ(lines[1][0], "student");
  EXPECT_NEAR(std::stod(lines[1][2]), 1, 1e-6);
  EXPECT_NEAR(std::stod(lines[1][3]), (kl(0.9, 0.8) + kl(0.2, 0.3) + 0) / 3, 2e-6);
  EXPECT_EQ(lines[2][0], "alone");
  EXPECT_NEAR(std::stod(lines[2][2]), 1 / 3.0, 1e-6);
  EXPECT_NEAR(std::stod(lines[2][3]), (kl(0.9, 0.5) + kl(0.2, 0.9) + kl(0.6, 0.1)) / 3, 2e-6);
  EXPECT_NE(context.printed.find("student/model"), std::string::npos);
}

TEST(Agreement, LeavesOutNetworksOfOtherClasses) {
  FakeContext context = teacher_and_two();
  context.add("other", "model", logits_of({0.8, 0.3, 0.6}), {1, 1, 0});
  context.add("named", "model", logits_of({0.8, 0.3, 0.6}), {0, 1, 0}).class_names = {"x", "y"};
  analyse(context, "teacher = 'teacher'");
  EXPECT_EQ(split_csv(context.files.at("agreement_teacher.csv")).size(), 3U);
}

TEST(Agreement, SaysWhichTeacherThereIsNot) {
  FakeContext context = teacher_and_two();
  context.add("pair", "net", logits_of({0.8, 0.3, 0.6}), {0, 1, 0});
  context.add("pair", "net_2", logits_of({0.8, 0.3, 0.6}), {0, 1, 0});
  EXPECT_EQ(error_of(context, "teacher = 'teachre'"),
            "analysis 'agreement': there is no stage 'teachre'\n    hint: did you mean 'teacher'?");
  EXPECT_EQ(error_of(context, "teacher = 'pair'"),
            "analysis 'agreement': stage 'pair' has several networks: say which\n    hint: networks: net, net_2");
  EXPECT_EQ(error_of(context, "teacher = 'pair', network = 'net_3'"),
            "analysis 'agreement': stage 'pair' has no network 'net_3'\n    hint: did you mean 'net_2'?");
}

}  // namespace
