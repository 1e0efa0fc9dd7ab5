// Tests of the analysis "logit_spread".
#include <cmath>
#include <numeric>

#include "kd/testing/analyses.h"

namespace {

using kd::testing::FakeAnalysisContext;
using kd::testing::number;

/// Three logits to a sample, whose unbiased deviation is this number: −d, 0, d, and something added to all.
at::Tensor logits_of(const std::vector<double>& deviations, double added = 0) {
  std::vector<double> logits;
  for (const double d : deviations) logits.insert(logits.end(), {added - d, added, added + d});
  return at::tensor(logits, at::kDouble).view({-1, 3});
}

std::vector<std::int64_t> zeros(std::size_t count) { return std::vector<std::int64_t>(count, 0); }

TEST(LogitSpread, AgreesWithNumbersByHand) {
  FakeAnalysisContext context;
  context.add("student", "net", logits_of({5, 1, 2, 4, 3}), zeros(5));
  context.analyse("{ type = 'logit_spread' }");
  const kd::Table& table = context.tables.at("logit_spread");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"stage", "network", "split", "mean", "deviation", "median", "quantile_5",
                                      "quantile_95"}));
  ASSERT_EQ(table.rows.size(), 1U);
  EXPECT_EQ(table.rows[0][0], kd::Cell("student"));
  EXPECT_EQ(table.rows[0][2], kd::Cell("test"));
  EXPECT_NEAR(number(table, 0, "mean"), 3, 1e-12);
  EXPECT_NEAR(number(table, 0, "deviation"), std::sqrt(2.5), 1e-12);
  EXPECT_NEAR(number(table, 0, "median"), 3, 1e-12);
  EXPECT_NEAR(number(table, 0, "quantile_5"), 1.2, 1e-12) << "a fifth of the way from the least to the next";
  EXPECT_NEAR(number(table, 0, "quantile_95"), 4.8, 1e-12);
  EXPECT_EQ(context.shown.size(), 1U);
}

TEST(LogitSpread, IsOfTheSoftmaxAloneAndOfTheScaleOfTheLogits) {
  FakeAnalysisContext context;
  context.add("plain", "net", logits_of({1, 2, 3}), zeros(3));
  context.add("moved", "net", logits_of({1, 2, 3}, 100), zeros(3));
  context.add("doubled", "net", logits_of({1, 2, 3}) * 2, zeros(3));
  context.analyse("{ type = 'logit_spread' }");
  const kd::Table& table = context.tables.at("logit_spread");
  for (const std::string column : {"mean", "deviation", "median", "quantile_5", "quantile_95"}) {
    EXPECT_NEAR(number(table, 1, column), number(table, 0, column), 1e-12) << column;
    EXPECT_NEAR(number(table, 2, column), 2 * number(table, 0, column), 1e-12) << column;
  }
}

TEST(LogitSpread, MeasuresTheSplitsThatThereAre) {
  FakeAnalysisContext context;
  kd::testing::FakeModel& all = context.add("all", "net", logits_of({1, 1}), zeros(2));
  all.answers[kd::Split::kTrain] = logits_of({2, 4});
  all.answers[kd::Split::kValidation] = logits_of({8, 8});
  context.add("two", "net", logits_of({1, 1}), zeros(2)).answers[kd::Split::kTrain] = logits_of({3, 3});
  context.analyse("{ type = 'logit_spread', splits = ['train', 'validation', 'test'] }");
  const kd::Table& table = context.tables.at("logit_spread");
  ASSERT_EQ(table.rows.size(), 5U);
  const std::vector<std::string> splits = {"train", "validation", "test", "train", "test"};
  const std::vector<double> means = {3, 8, 1, 3, 1};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(table.rows[i][2], kd::Cell(splits[i])) << i;
    EXPECT_NEAR(number(table, i, "mean"), means[i], 1e-12) << i;
  }
  const auto& marks = context.figures.at("logit_spread").panels[0].marks;
  ASSERT_EQ(marks.size(), 5U);
  EXPECT_EQ(std::get<kd::Curve>(marks[0]).name, "all/net, train");
  EXPECT_EQ(std::get<kd::Curve>(marks[0]).colour, std::get<kd::Curve>(marks[2]).colour) << "of one network";
  EXPECT_NE(std::get<kd::Curve>(marks[0]).style, std::get<kd::Curve>(marks[2]).style);
  EXPECT_NE(std::get<kd::Curve>(marks[0]).colour, std::get<kd::Curve>(marks[3]).colour);
}

TEST(LogitSpread, DrawsDensitiesWithCommonBins) {
  FakeAnalysisContext context;
  context.add("a", "net", logits_of({1, 1.5, 2, 5}), zeros(4));
  context.add("b", "net", logits_of({3, 9}), zeros(2));
  context.analyse("{ type = 'logit_spread', bins = 4 }");
  const kd::Panel& panel = context.figures.at("logit_spread").panels.at(0);
  const auto &a = std::get<kd::Curve>(panel.marks[0]), &b = std::get<kd::Curve>(panel.marks[1]);
  // From 1 to 9 in bins of 2; the largest number belongs to the last bin.
  EXPECT_EQ(a.x, (std::vector<double>{2, 4, 6, 8}));
  EXPECT_EQ(b.x, a.x);
  EXPECT_EQ(a.y, (std::vector<double>{3 / 8.0, 0, 1 / 8.0, 0}));
  EXPECT_EQ(b.y, (std::vector<double>{0, 1 / 4.0, 0, 1 / 4.0}));
  for (const kd::Curve* curve : {&a, &b})
    EXPECT_NEAR(2 * std::accumulate(curve->y.begin(), curve->y.end(), 0.0), 1, 1e-12) << "the area";
}

TEST(LogitSpread, DrawsWhereAllNumbersAreOne) {
  FakeAnalysisContext context;
  context.add("a", "net", logits_of({2, 2}), zeros(2));
  context.analyse("{ type = 'logit_spread', bins = 5 }");
  const auto& curve = std::get<kd::Curve>(context.figures.at("logit_spread").panels[0].marks[0]);
  EXPECT_NEAR(curve.x.front(), 1.6, 1e-12);
  EXPECT_NEAR(curve.y[2], 5, 1e-12) << "all in the middle one of five bins between 1.5 and 2.5";
}

TEST(LogitSpread, SaysWhatIsWrong) {
  FakeAnalysisContext context;
  context.add("a", "net", logits_of({2, 2}), zeros(2));
  EXPECT_EQ(context.refusal("{ type = 'logit_spread', splits = ['tset'] }"),
            "value:1:1: error: analysis 'logit_spread': there is no split 'tset'\n    hint: did you mean 'test'?");
  EXPECT_EQ(context.refusal("{ type = 'logit_spread', splits = ['test', 'train', 'test'] }"),
            "value:1:1: error: analysis 'logit_spread': 'splits' names 'test' twice");
  EXPECT_EQ(context.refusal("{ type = 'logit_spread', splits = [] }"),
            "value:1:1: error: analysis 'logit_spread': 'splits' names no split");
  EXPECT_EQ(context.refusal("{ type = 'logit_spread', stages = ['b'] }"),
            "error: there is no stage 'b'\n    hint: did you mean 'a'?");
  EXPECT_NE(context.refusal("{ type = 'logit_spread', bins = 1 }"), "");
  EXPECT_TRUE(context.tables.empty());
}

}  // namespace
