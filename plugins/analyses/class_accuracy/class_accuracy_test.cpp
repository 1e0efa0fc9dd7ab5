// Tests of the analysis "class_accuracy".
#include <ATen/ops/eye.h>

#include <cmath>

#include "kd/testing/analyses.h"

namespace {

/// Networks that answer one class to each sample.
class Context final : public kd::testing::FakeAnalysisContext {
 public:
  /// The networks added from here on answer to these samples.
  void set_data(std::vector<std::string> class_names, const std::vector<std::int64_t>& labels) {
    class_names_ = std::move(class_names);
    labels_ = labels;
  }
  /// A network that answers class `predictions[i]` to sample i.
  void add(const std::string& stage, const std::string& network, const std::vector<std::int64_t>& predictions) {
    const auto classes = static_cast<std::int64_t>(class_names_.size());
    const at::Tensor logits = at::eye(classes).index_select(0, at::tensor(predictions, at::kLong));
    FakeAnalysisContext::add(stage, network, logits, labels_).data_.class_names = class_names_;
  }

 private:
  std::vector<std::string> class_names_;
  std::vector<std::int64_t> labels_;
};

std::string toml(const std::string& parameters = "") { return "{ type = 'class_accuracy'" + parameters + " }"; }

/// Class 0: three samples, class 1: one, class 2: none, class 3: two.
void add_small_data(Context& context) {
  context.set_data({"cat", "dog, small", "none", "the \"fox\""}, {0, 3, 0, 1, 0, 3});
  context.add("teacher", "net", {0, 3, 0, 1, 0, 3});
  context.add("student", "net", {0, 1, 2, 1, 1, 3});
}

TEST(ClassAccuracy, HasARowForEachClassAndAColumnForEachNetwork) {
  Context context;
  add_small_data(context);
  context.analyse(toml());
  ASSERT_EQ(context.tables.size(), 1U);
  const kd::Table& table = context.tables.at("class_accuracy");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"class", "name", "samples", "teacher/net", "student/net"}));
  EXPECT_EQ(table.columns[3].type, kd::ColumnType::kShare);
  ASSERT_EQ(table.rows.size(), 4U);
  EXPECT_EQ(table.rows[0], (kd::Row{"0", "cat", 3, 1, 1.0 / 3}));
  EXPECT_EQ(table.rows[1], (kd::Row{"1", "dog, small", 1, 1, 1}));
  EXPECT_TRUE(std::isnan(table.rows[2][3].number()));
  EXPECT_EQ(table.rows[3], (kd::Row{"3", "the \"fox\"", 2, 1, 0.5}));
  EXPECT_EQ(context.shown[0].rows.size(), 4U) << "few classes are shown as they are";
}

TEST(ClassAccuracy, StagesMayDifferInTheirClasses) {
  Context context;
  context.set_data({"a", "b"}, {0, 1, 1});
  context.add("two", "net", {0, 1, 0});
  context.set_data({"c", "b"}, {0, 1, 1, 1});
  context.add("other", "net", {0, 1, 1, 1});
  context.analyse(toml());
  const kd::Table& table = context.tables.at("class_accuracy");
  ASSERT_EQ(table.rows.size(), 3U);
  EXPECT_EQ(table.rows[1], (kd::Row{"1", "b", 3, 0.5, 1}));
  EXPECT_EQ(table.rows[0][3], kd::Cell(1));
  EXPECT_TRUE(std::isnan(table.rows[0][4].number()));
  EXPECT_TRUE(std::isnan(table.rows[2][3].number()));
}

TEST(ClassAccuracy, LooksAtSomeClassesAndTheirMean) {
  Context context;
  add_small_data(context);
  context.analyse(toml(", classes = [3, 0]"));
  const kd::Table& table = context.tables.at("class_accuracy");
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0][0], kd::Cell("3"));
  EXPECT_EQ(table.rows[1][0], kd::Cell("0"));
  ASSERT_EQ(context.shown[0].rows.size(), 3U);
  EXPECT_EQ(context.shown[0].rows[2][0], kd::Cell("mean"));
  EXPECT_NEAR(context.shown[0].rows[2][4].number(), (0.5 + 1.0 / 3) / 2, 1e-12);
}

TEST(ClassAccuracy, LeavesClassesWithoutSamplesOutOfTheMean) {
  Context context;
  add_small_data(context);
  context.analyse(toml(", classes = [1, 2, 3]"));
  EXPECT_NEAR(context.shown[0].rows[3][4].number(), 0.75, 1e-12);
}

/// 25 classes of 25 samples; the network knows class c from c other samples, and class 24 does not occur.
void add_large_data(Context& context) {
  constexpr std::int64_t kClasses = 25;
  std::vector<std::string> names;
  std::vector<std::int64_t> labels, predictions;
  for (std::int64_t c = 0; c < kClasses; ++c) {
    names.push_back(std::string("n").append(std::to_string(c)));
    for (std::int64_t i = 0; i < (c < kClasses - 1 ? kClasses : 0); ++i) {
      labels.push_back(c);
      predictions.push_back(i < c ? c : (c + 1) % kClasses);
    }
  }
  context.set_data(names, labels);
  context.add("teacher", "net", labels);
  context.add("student", "net", predictions);
}

TEST(ClassAccuracy, ShowsTheWorstAndTheBestOfManyClasses) {
  Context context;
  add_large_data(context);
  context.analyse(toml());
  EXPECT_EQ(context.tables.at("class_accuracy").rows.size(), 25U);
  const kd::Table& shown = context.shown[0];
  EXPECT_TRUE(shown.caption.starts_with("test accuracy of the worst and the best classes of student/net"));
  std::vector<std::string> names;
  for (const kd::Row& row : shown.rows) names.push_back(row[1].text());
  EXPECT_EQ(names, (std::vector<std::string>{"n0", "n1", "n2", "n3", "n4", "n19", "n20", "n21", "n22", "n23"}));
}

TEST(ClassAccuracy, RefusesAClassThatDoesNotExist) {
  Context context;
  add_small_data(context);
  const std::string answer = context.refusal(toml(", classes = [0, 4]"));
  EXPECT_NE(answer.find("there is no class 4"), std::string::npos) << answer;
  EXPECT_NE(context.refusal(toml(", classes = [-1]")), "");
  EXPECT_TRUE(context.tables.empty());
}

}  // namespace
