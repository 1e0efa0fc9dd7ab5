// Tests of the analysis "KD_NAME_HERE", with networks whose answers are given.
#include "kd/testing/analyses.h"

namespace {

/// Two networks, three classes, four samples: the first network is right on three, the second on none.
void add_two_networks(kd::testing::FakeAnalysisContext& context) {
  const std::vector<std::int64_t> labels{0, 1, 2, 2};
  context.add("one", "teacher", at::tensor({9.F, 1.F, 0.F, 1.F, 9.F, 0.F, 1.F, 0.F, 9.F, 9.F, 0.F, 1.F}).view({4, 3}),
              labels);
  context.add("two", "student", at::tensor({1.F, 9.F, 0.F, 9.F, 1.F, 0.F, 9.F, 1.F, 0.F, 9.F, 1.F, 0.F}).view({4, 3}),
              labels);
}

TEST(KdClassHere, HasARowForEachNetwork) {
  kd::testing::FakeAnalysisContext context;
  add_two_networks(context);
  context.analyse("{ type = 'KD_NAME_HERE' }");
  const kd::Table& table = context.tables.at("KD_NAME_HERE");
  EXPECT_EQ(kd::testing::column_names(table), (std::vector<std::string>{"stage", "network", "accuracy"}));
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0], (kd::Row{"one", "teacher", 0.75}));
  EXPECT_EQ(table.rows[1], (kd::Row{"two", "student", 0}));
  EXPECT_EQ(context.shown.size(), 1U);
}

TEST(KdClassHere, CountsTheSecondAnswerWithKOfTwo) {
  kd::testing::FakeAnalysisContext context;
  add_two_networks(context);
  context.analyse("{ type = 'KD_NAME_HERE', k = 2 }");
  EXPECT_EQ(kd::testing::number(context.tables.at("KD_NAME_HERE"), 0, "accuracy"), 1);
  EXPECT_EQ(kd::testing::number(context.tables.at("KD_NAME_HERE"), 1, "accuracy"), 0.5);
}

}  // namespace
