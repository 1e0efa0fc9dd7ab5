// Tests of the analysis "confusion".
#include <cmath>
#include <numeric>

#include "kd/tensor.h"
#include "kd/testing/analyses.h"

namespace {

using kd::testing::FakeAnalysisContext;
using kd::testing::FakeModel;
using kd::testing::number;

const std::vector<std::string> kClasses = {"cat", "dog", "car"};
const std::vector<std::int64_t> kTruths = {0, 0, 0, 0, 1, 1, 1, 2, -1, -1};

/// Logits that answer with these classes.
at::Tensor answering(const std::vector<std::int64_t>& answers, std::int64_t classes) {
  return at::one_hot(at::tensor(answers, at::kLong), classes).to(at::kFloat);
}

FakeModel& add(FakeAnalysisContext& context, const std::string& stage, const std::vector<std::int64_t>& answers,
               const std::vector<std::int64_t>& truths = kTruths, const std::vector<std::string>& classes = kClasses) {
  FakeModel& model = context.add(stage, "net", answering(answers, static_cast<std::int64_t>(classes.size())), truths);
  model.data_.class_names = classes;
  return model;
}

/// Cats are taken for a dog once and for a car twice, dogs for a car once.
const std::vector<std::int64_t> kStudent = {0, 1, 2, 2, 1, 1, 2, 2, 0, 1};
/// Cats are taken for a car once, the car for a cat.
const std::vector<std::int64_t> kTeacher = {0, 0, 0, 2, 1, 1, 1, 0, 2, 2};

TEST(Confusion, ListsTheMostConfusedPairs) {
  FakeAnalysisContext context;
  add(context, "student", kStudent);
  context.analyse("{ type = 'confusion' }");
  const kd::Table& table = context.tables.at("confusion");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"stage", "network", "truth", "answer", "count", "share"}));
  ASSERT_EQ(table.rows.size(), 3U) << "of what was never confused there is no row";
  EXPECT_EQ(table.rows[0], (kd::Row{"student", "net", "cat", "car", 2, 0.5}));
  EXPECT_EQ(table.rows[1], (kd::Row{"student", "net", "cat", "dog", 1, 0.25}));
  EXPECT_EQ(table.rows[2], (kd::Row{"student", "net", "dog", "car", 1, 1 / 3.0}));
  context.analyse("{ type = 'confusion', pairs = 1 }");
  ASSERT_EQ(context.tables.at("confusion").rows.size(), 1U);
  EXPECT_EQ(context.tables.at("confusion").rows[0][3], kd::Cell("car"));
  EXPECT_EQ(context.tables.size(), 1U) << "without a teacher there is nothing to compare";
}

TEST(Confusion, DrawsTheSharesOfEachClass) {
  FakeAnalysisContext context;
  std::vector<std::string> classes = kClasses;
  classes.push_back("3");
  add(context, "student", kStudent, kTruths, classes);
  context.analyse("{ type = 'confusion' }");
  const kd::Panel& panel = context.figures.at("confusion_student_net").panels.at(0);
  const auto& map = std::get<kd::HeatMap>(panel.marks.at(0));
  ASSERT_EQ(map.values.size(), 4U);
  EXPECT_EQ(map.values[0], (std::vector<double>{0.25, 0.25, 0.5, 0}));
  EXPECT_EQ(map.values[1], (std::vector<double>{0, 2 / 3.0, 1 / 3.0, 0}));
  EXPECT_EQ(map.values[2], (std::vector<double>{0, 0, 1, 0}));
  for (const double share : map.values[3]) EXPECT_TRUE(std::isnan(share)) << "there is no sample of this class";
  EXPECT_TRUE(map.numbers);
  EXPECT_EQ(map.high, 0.5) << "the largest share off the diagonal";
  EXPECT_EQ(panel.x.categories, (std::vector<std::string>{"0", "1", "2", "3"}));
  EXPECT_EQ(panel.y.categories, (std::vector<std::string>{"cat 0", "dog 1", "car 2", "3"}));
}

TEST(Confusion, NamesNoMoreThanTwentyClasses) {
  for (const std::int64_t count : {20, 21}) {
    FakeAnalysisContext context;
    std::vector<std::int64_t> truths(static_cast<std::size_t>(count));
    std::iota(truths.begin(), truths.end(), 0);
    add(context, "a", truths, truths, std::vector<std::string>(truths.size(), "class"));
    context.analyse("{ type = 'confusion' }");
    const kd::Panel& panel = context.figures.at("confusion_a_net").panels.at(0);
    const auto& map = std::get<kd::HeatMap>(panel.marks.at(0));
    EXPECT_EQ(map.values.size(), truths.size());
    EXPECT_EQ(map.numbers, count == 20);
    EXPECT_EQ(panel.x.categories.size(), count == 20 ? 20U : 0U);
    EXPECT_EQ(panel.y.categories.size(), count == 20 ? 20U : 0U);
  }
}

TEST(Confusion, ComparesAStudentWithItsTeacherSampleBySample) {
  FakeAnalysisContext context;
  add(context, "teacher", kTeacher);
  add(context, "student", kStudent);
  context.analyse("{ type = 'confusion', teacher = 'teacher' }");
  const kd::Table& table = context.tables.at("teacher_and_student");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"stage", "network", "both_right", "only_teacher", "only_student", "same_mistake",
                                      "other_mistake"}));
  ASSERT_EQ(table.rows.size(), 1U) << "the teacher is not compared with itself";
  EXPECT_EQ(table.rows[0][0], kd::Cell("student"));
  // Of 8 labelled samples: right by both are 0, 4 and 5; the teacher alone 1, 2 and 6; the student 7; 3 is for both a
  // car.
  EXPECT_EQ(number(table, 0, "both_right"), 3 / 8.0);
  EXPECT_EQ(number(table, 0, "only_teacher"), 3 / 8.0);
  EXPECT_EQ(number(table, 0, "only_student"), 1 / 8.0);
  EXPECT_EQ(number(table, 0, "same_mistake"), 1 / 8.0);
  EXPECT_EQ(number(table, 0, "other_mistake"), 0);
}

TEST(Confusion, TellsMistakesThatAreTheTeachersFromOthers) {
  FakeAnalysisContext context;
  add(context, "teacher", {1, 1, 2, 0}, {0, 0, 0, 0});
  add(context, "student", {1, 2, 1, 0}, {0, 0, 0, 0});
  context.analyse("{ type = 'confusion', teacher = 'teacher' }");
  const kd::Table& table = context.tables.at("teacher_and_student");
  EXPECT_EQ(number(table, 0, "same_mistake"), 0.25);
  EXPECT_EQ(number(table, 0, "other_mistake"), 0.5);
  EXPECT_EQ(number(table, 0, "both_right"), 0.25);
}

TEST(Confusion, SaysWhatAStudentGainsByClass) {
  FakeAnalysisContext context;
  add(context, "teacher", kTeacher);
  add(context, "student", kStudent);
  context.analyse("{ type = 'confusion', teacher = 'teacher' }");
  const kd::Table& table = context.tables.at("teacher_and_student_by_class");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"stage", "network", "class", "samples", "teacher", "student", "gain"}));
  ASSERT_EQ(table.rows.size(), 3U);
  EXPECT_EQ(table.rows[0], (kd::Row{"student", "net", "cat", 4, 0.75, 0.25, -0.5}));
  EXPECT_EQ(table.rows[1], (kd::Row{"student", "net", "dog", 3, 1, 2 / 3.0, 2 / 3.0 - 1}));
  EXPECT_EQ(table.rows[2], (kd::Row{"student", "net", "car", 1, 0, 1, 1}));
}

TEST(Confusion, ShowsBothEndsOfManyClasses) {
  FakeAnalysisContext context;
  std::vector<std::int64_t> truths(15), answers(15, 0);
  std::iota(truths.begin(), truths.end(), 0);
  const std::vector<std::string> classes(15, "class");
  add(context, "teacher", truths, truths, classes);
  answers[14] = 14;
  add(context, "student", answers, truths, classes);
  context.analyse("{ type = 'confusion', teacher = 'teacher' }");
  EXPECT_EQ(context.tables.at("teacher_and_student_by_class").rows.size(), 15U);
  const kd::Table& shown = context.shown.back();
  ASSERT_EQ(shown.rows.size(), 10U);
  EXPECT_EQ(number(shown, 0, "gain"), -1);
  EXPECT_EQ(number(shown, 8, "gain"), 0) << "class 0, which is always answered";
  EXPECT_EQ(number(shown, 9, "gain"), 0) << "class 14";
  EXPECT_EQ(number(shown, 7, "gain"), -1);
}

TEST(Confusion, LeavesOutNetworksOfOtherSamples) {
  FakeAnalysisContext context;
  add(context, "teacher", kTeacher);
  add(context, "student", kStudent);
  std::vector<std::int64_t> others = kTruths;
  others[0] = 1;
  add(context, "other", kStudent, others);
  add(context, "named", kStudent, kTruths, {"x", "y", "z"});
  context.analyse("{ type = 'confusion', teacher = 'teacher' }");
  EXPECT_EQ(context.tables.at("teacher_and_student").rows.size(), 1U);
  EXPECT_EQ(context.figures.size(), 4U) << "each has a confusion of its own";
  context.analyse("{ type = 'confusion', teacher = 'teacher', stages = ['student'] }");
  EXPECT_EQ(context.tables.at("teacher_and_student").rows.size(), 1U) << "the teacher need not be looked at";
  EXPECT_EQ(context.tables.at("confusion").rows.size(), 3U);
}

TEST(Confusion, SaysWhatIsWrong) {
  FakeAnalysisContext context;
  add(context, "teacher", kTeacher);
  EXPECT_EQ(context.refusal("{ type = 'confusion', teacher = 'teachre' }"),
            "error: there is no stage 'teachre'\n    hint: did you mean 'teacher'?");
  EXPECT_EQ(context.refusal("{ type = 'confusion', teacher = 'teacher', teacher_network = 'nett' }"),
            "error: stage 'teacher' has no network 'nett'\n    hint: did you mean 'net'?");
  EXPECT_EQ(context.refusal("{ type = 'confusion', teacher_network = 'net' }"),
            "value:1:1: error: analysis 'confusion': 'teacher_network' names a network, and 'teacher' no stage");
  EXPECT_EQ(context.refusal("{ type = 'confusion', stages = ['b'] }"),
            "error: there is no stage 'b'\n    hint: stages: teacher");
  EXPECT_NE(context.refusal("{ type = 'confusion', pairs = 0 }"), "");
  EXPECT_TRUE(context.tables.empty());
}

}  // namespace
