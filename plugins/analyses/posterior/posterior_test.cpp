// Tests of the analysis "posterior".
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kd/testing/analyses.h"

namespace {

using kd::testing::FakeAnalysisContext;
using kd::testing::number;

using Rows = std::vector<std::vector<double>>;

const Rows kPosteriors = {{0.7, 0.2, 0.1}, {0.05, 0.9, 0.05}, {0.3, 0.3, 0.4}};

/// Logits whose softmax is these rows, each moved by a number of its own.
at::Tensor logits_of(const Rows& posteriors) {
  std::vector<double> logits;
  for (std::size_t i = 0; i < posteriors.size(); ++i) {
    for (const double p : posteriors[i]) logits.push_back(std::log(p) + 3.0 * static_cast<double>(i));
  }
  return at::tensor(logits, at::kDouble).view({static_cast<std::int64_t>(posteriors.size()), -1});
}

/// Mean over rows of the entropy of p^(1/T), normalised.
double entropy_by_hand(const Rows& posteriors, double temperature) {
  double total = 0;
  for (const auto& row : posteriors) {
    double sum = 0;
    for (const double p : row) sum += std::pow(p, 1 / temperature);
    for (const double p : row) {
      const double softened = std::pow(p, 1 / temperature) / sum;
      total -= softened * std::log(softened) / static_cast<double>(posteriors.size());
    }
  }
  return total;
}

TEST(Posterior, AgreesWithNumbersByHand) {
  FakeAnalysisContext context;
  context.add("student", "net", logits_of(kPosteriors), {0, 1, 2});
  context.analyse("{ type = 'posterior', top = 2 }");
  const kd::Table& table = context.tables.at("posterior");
  EXPECT_EQ(kd::testing::column_names(table), (std::vector<std::string>{"stage", "network", "entropy", "p1", "p2"}));
  ASSERT_EQ(table.rows.size(), 1U);
  EXPECT_EQ(table.rows[0][0], kd::Cell("student"));
  EXPECT_EQ(table.rows[0][1], kd::Cell("net"));
  EXPECT_NEAR(number(table, 0, "entropy"), entropy_by_hand(kPosteriors, 1), 1e-12);
  EXPECT_NEAR(number(table, 0, "p1"), (0.7 + 0.9 + 0.4) / 3, 1e-12) << "sorted in each sample, not in the mean";
  EXPECT_NEAR(number(table, 0, "p2"), (0.2 + 0.05 + 0.3) / 3, 1e-12);
  EXPECT_EQ(context.shown.size(), 1U);
}

TEST(Posterior, SoftensByEveryTemperature) {
  FakeAnalysisContext context;
  context.add("a", "net", logits_of(kPosteriors), {0, 1, 2});
  context.add("b", "net", logits_of(kPosteriors) * 2, {0, 1, 2});
  context.analyse("{ type = 'posterior', temperatures = [4, 0.5, 2] }");
  const kd::Table& table = context.tables.at("entropy_against_temperature");
  EXPECT_EQ(kd::testing::column_names(table), (std::vector<std::string>{"stage", "network", "temperature", "entropy"}));
  ASSERT_EQ(table.rows.size(), 6U);
  const std::vector<double> temperatures = {0.5, 2, 4};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(number(table, i, "temperature"), temperatures[i]);
    EXPECT_NEAR(number(table, i, "entropy"), entropy_by_hand(kPosteriors, temperatures[i]), 1e-12);
    EXPECT_EQ(table.rows[i + 3][0], kd::Cell("b"));
    EXPECT_NEAR(number(table, i + 3, "entropy"), entropy_by_hand(kPosteriors, temperatures[i] / 2), 1e-12);
  }
}

TEST(Posterior, ReachesBothLimits) {
  FakeAnalysisContext context;
  context.add("certain", "net", at::tensor({1e4, 0.0, -1e4}, at::kFloat).view({1, 3}), {0});
  context.add("ignorant", "net", at::tensor({7.0, 7.0, 7.0}, at::kFloat).view({1, 3}), {0});
  context.analyse("{ type = 'posterior', temperatures = [1, 1e9] }");
  const kd::Table& table = context.tables.at("posterior");
  EXPECT_EQ(number(table, 0, "entropy"), 0);
  EXPECT_EQ(number(table, 0, "p1"), 1);
  EXPECT_EQ(number(table, 0, "p3"), 0);
  EXPECT_NEAR(number(table, 1, "entropy"), std::log(3), 1e-12);
  EXPECT_NEAR(number(table, 1, "p3"), 1 / 3.0, 1e-12);
  const kd::Table& softened = context.tables.at("entropy_against_temperature");
  EXPECT_EQ(number(softened, 0, "entropy"), 0);
  EXPECT_NEAR(number(softened, 1, "entropy"), std::log(3), 1e-8) << "at a high temperature all are alike";
}

TEST(Posterior, LeavesEmptyWhatFewerClassesDoNotHave) {
  FakeAnalysisContext context;
  context.add("three", "net", logits_of(kPosteriors), {0, 1, 2});
  context.add("two", "net", logits_of({{0.8, 0.2}}), {0});
  context.analyse("{ type = 'posterior' }");
  const kd::Table& table = context.tables.at("posterior");
  EXPECT_EQ(table.columns.back().name, "p3");
  EXPECT_NEAR(number(table, 1, "p2"), 0.2, 1e-12);
  EXPECT_EQ(table.rows[1].back(), kd::Cell());
}

TEST(Posterior, CountsSamplesWithoutALabel) {
  FakeAnalysisContext context;
  context.add("a", "net", logits_of(kPosteriors), {-1, -1, 2});
  context.analyse("{ type = 'posterior' }");
  EXPECT_NEAR(number(context.tables.at("posterior"), 0, "entropy"), entropy_by_hand(kPosteriors, 1), 1e-12);
}

TEST(Posterior, DrawsACurveForEachNetwork) {
  FakeAnalysisContext context;
  context.add("a", "net", logits_of(kPosteriors), {0, 1, 2});
  context.add("b", "net", logits_of(kPosteriors) * 2, {0, 1, 2});
  context.analyse("{ type = 'posterior', top = 3, temperatures = [1, 2] }");
  const kd::Figure& figure = context.figures.at("posterior");
  ASSERT_EQ(figure.panels.size(), 2U);
  ASSERT_EQ(figure.panels[0].marks.size(), 2U);
  ASSERT_EQ(figure.panels[1].marks.size(), 2U);
  const auto& sorted = std::get<kd::Curve>(figure.panels[0].marks[0]);
  EXPECT_EQ(sorted.name, "a/net");
  EXPECT_EQ(sorted.x, (std::vector<double>{1, 2, 3}));
  EXPECT_TRUE(std::is_sorted(sorted.y.begin(), sorted.y.end(), std::greater<>()));
  EXPECT_NEAR(sorted.y[0] + sorted.y[1] + sorted.y[2], 1, 1e-12);
  const auto& softened = std::get<kd::Curve>(figure.panels[1].marks[1]);
  EXPECT_EQ(softened.name, "b/net");
  EXPECT_EQ(softened.x, (std::vector<double>{1, 2}));
  EXPECT_NEAR(softened.y[1], entropy_by_hand(kPosteriors, 1), 1e-12) << "doubled logits at temperature 2";
}

TEST(Posterior, LooksAtTheStagesThatAreNamed) {
  FakeAnalysisContext context;
  for (const char* stage : {"a", "b", "c"}) context.add(stage, "net", logits_of(kPosteriors), {0, 1, 2});
  context.analyse("{ type = 'posterior', stages = ['c', 'a'] }");
  const kd::Table& table = context.tables.at("posterior");
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0][0], kd::Cell("a")) << "in the order of the run";
  EXPECT_EQ(table.rows[1][0], kd::Cell("c"));
}

TEST(Posterior, SaysWhatIsWrong) {
  FakeAnalysisContext context;
  context.add("student", "net", logits_of(kPosteriors), {0, 1, 2});
  EXPECT_EQ(context.refusal("{ type = 'posterior', stages = ['studnet'] }"),
            "error: there is no stage 'studnet'\n    hint: did you mean 'student'?");
  EXPECT_EQ(context.refusal("{ type = 'posterior', temperatures = [] }"),
            "value:1:1: error: analysis 'posterior': 'temperatures' holds no temperature");
  EXPECT_NE(context.refusal("{ type = 'posterior', temperatures = [0] }"), "");
  EXPECT_NE(context.refusal("{ type = 'posterior', top = 0 }"), "");
  EXPECT_TRUE(context.tables.empty());
}

}  // namespace
