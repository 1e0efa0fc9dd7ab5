// Tests of the analysis "fidelity".
#include <cmath>

#include "kd/testing/analyses.h"

namespace {

using kd::testing::FakeAnalysisContext;
using kd::testing::FakeModel;
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

void add_train(kd::TrainedModel* model, const std::vector<double>& first, const std::vector<std::int64_t>& labels) {
  auto& fake = dynamic_cast<FakeModel&>(*model);
  fake.answers[kd::Split::kTrain] = logits_of(first);
  fake.truths[kd::Split::kTrain] = at::tensor(labels, at::kLong);
}

std::string toml(const std::string& parameters = "") {
  return "{ type = 'fidelity', teacher = 'teacher'" + parameters + " }";
}

double kl(double p, double q) { return p * std::log(p / q) + (1 - p) * std::log((1 - p) / (1 - q)); }

TEST(Fidelity, AgreesWithNumbersByHand) {
  FakeAnalysisContext context;
  add_teacher_and_two(context);
  context.analyse(toml());
  const kd::Table& table = context.tables.at("fidelity_teacher");
  EXPECT_EQ(kd::testing::column_names(table),
            (std::vector<std::string>{"stage", "network", "split", "agreement", "kl"}));
  EXPECT_NE(table.caption.find("KL(teacher/model‖network)"), std::string::npos) << table.caption;
  EXPECT_EQ(table.caption.find("control"), std::string::npos) << table.caption;
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0][0], kd::Cell("student"));
  EXPECT_EQ(table.rows[0][2], kd::Cell("test"));
  EXPECT_NEAR(number(table, 0, "agreement"), 1, 1e-6);
  EXPECT_NEAR(number(table, 0, "kl"), (kl(0.9, 0.8) + kl(0.2, 0.3) + 0) / 3, 2e-6);
  EXPECT_EQ(table.rows[1][0], kd::Cell("alone"));
  EXPECT_NEAR(number(table, 1, "agreement"), 1 / 3.0, 1e-6);
  EXPECT_NEAR(number(table, 1, "kl"), (kl(0.9, 0.5) + kl(0.2, 0.9) + kl(0.6, 0.1)) / 3, 2e-6);
  EXPECT_EQ(context.shown.size(), 1U);
}

TEST(Fidelity, SaysWhatAStudentHasOverTheControl) {
  FakeAnalysisContext context;
  add_teacher_and_two(context);
  context.analyse(toml(", control = 'alone'"));
  const kd::Table& table = context.tables.at("fidelity_teacher");
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_NEAR(number(table, 0, "agreement_over_control"), 2 / 3.0, 1e-6);
  EXPECT_NEAR(number(table, 0, "kl_over_control"),
              (kl(0.9, 0.8) + kl(0.2, 0.3) - kl(0.9, 0.5) - kl(0.2, 0.9) - kl(0.6, 0.1)) / 3, 2e-6);
  EXPECT_EQ(number(table, 1, "agreement_over_control"), 0) << "the control over itself";
  EXPECT_EQ(number(table, 1, "kl_over_control"), 0);
  EXPECT_NE(table.caption.find("less those of alone/model"), std::string::npos) << table.caption;
}

TEST(Fidelity, LooksAtTheTrainingSplitToo) {
  FakeAnalysisContext context;
  add_teacher_and_two(context);
  add_train(context.networks()[0], {0.9, 0.1}, {0, 1});
  add_train(context.networks()[1], {0.7, 0.6}, {0, 1});
  add_train(context.networks()[2], {0.7, 0.6}, {1, 1});  // of other training samples
  context.analyse(toml(", control = 'alone', splits = ['train', 'test']"));
  const kd::Table& table = context.tables.at("fidelity_teacher");
  ASSERT_EQ(table.rows.size(), 3U);
  EXPECT_EQ(table.rows[0][2], kd::Cell("train"));
  EXPECT_NEAR(number(table, 0, "agreement"), 0.5, 1e-6);
  EXPECT_NEAR(number(table, 0, "kl"), (kl(0.9, 0.7) + kl(0.1, 0.6)) / 2, 2e-6);
  EXPECT_EQ(table.rows[0][5], kd::Cell()) << "the control has no answers to compare";
  EXPECT_EQ(table.rows[0][6], kd::Cell());
  EXPECT_EQ(table.rows[1][2], kd::Cell("test"));
  EXPECT_NEAR(number(table, 1, "agreement_over_control"), 2 / 3.0, 1e-6);
}

TEST(Fidelity, AsksSomeOfTheTrainingSamples) {
  FakeAnalysisContext context;
  context.add("teacher", "model", logits_of({0.9}), {0});
  context.add("student", "model", logits_of({0.9}), {0});
  const std::vector<double> teacher = {0.9, 0.2, 0.8}, student = {0.8, 0.3, 0.4};
  add_train(context.networks()[0], teacher, {0, 1, 0});
  add_train(context.networks()[1], student, {0, 1, 0});
  for (kd::TrainedModel* one : context.networks()) {
    auto& fake = dynamic_cast<FakeModel&>(*one);
    fake.pictures = fake.answers.at(kd::Split::kTrain);  // networks that answer what they see
    fake.run = [](const at::Tensor& images) { return images; };
  }
  const auto train_kl = [&](const std::string& samples) {
    context.analyse(toml(", splits = ['train'], samples = " + samples));
    return number(context.tables.at("fidelity_teacher"), 0, "kl");
  };
  const double first_two = kl(0.9, 0.8) + kl(0.2, 0.3);
  EXPECT_NEAR(train_kl("2"), first_two / 2, 2e-6);
  EXPECT_NEAR(train_kl("0"), (first_two + kl(0.8, 0.4)) / 3, 2e-6);
  EXPECT_NEAR(train_kl("3"), (first_two + kl(0.8, 0.4)) / 3, 2e-6);
  context.analyse(toml(", samples = 1"));
  EXPECT_EQ(number(context.tables.at("fidelity_teacher"), 0, "agreement"), 1) << "the test split is always whole";
}

TEST(Fidelity, LeavesOutNetworksOfOtherClasses) {
  FakeAnalysisContext context;
  add_teacher_and_two(context);
  context.add("other", "model", logits_of({0.8, 0.3, 0.6}), {1, 1, 0});
  context.add("named", "model", logits_of({0.8, 0.3, 0.6}), {0, 1, 0}).data_.class_names = {"x", "y"};
  context.analyse(toml());
  EXPECT_EQ(context.tables.at("fidelity_teacher").rows.size(), 2U);
}

TEST(Fidelity, DrawsABarOfEachNetworkInEachSplit) {
  FakeAnalysisContext context;
  add_teacher_and_two(context);
  add_train(context.networks()[0], {0.9, 0.1}, {0, 1});
  add_train(context.networks()[2], {0.7, 0.6}, {0, 1});
  context.analyse(toml(", splits = ['test', 'train']"));
  const kd::Panel& panel = context.figures.at("fidelity_teacher").panels.at(0);
  EXPECT_EQ(panel.x.categories, (std::vector<std::string>{"test", "train"}));
  ASSERT_EQ(panel.marks.size(), 2U);
  const auto& student = std::get<kd::Bars>(panel.marks[0]);
  EXPECT_EQ(student.name, "student/model");
  EXPECT_EQ(student.left, (std::vector<double>{-0.4}));
  EXPECT_EQ(student.right, (std::vector<double>{0}));
  EXPECT_EQ(student.top, (std::vector<double>{1}));
  const auto& alone = std::get<kd::Bars>(panel.marks[1]);
  EXPECT_EQ(alone.left, (std::vector<double>{0, 1}));
  EXPECT_NEAR(alone.top.at(0), 1 / 3.0, 1e-12);
  EXPECT_NEAR(alone.top.at(1), 0.5, 1e-12);
}

TEST(Fidelity, SaysWhichTeacherThereIsNot) {
  FakeAnalysisContext context;
  add_teacher_and_two(context);
  context.add("pair", "net", logits_of({0.8, 0.3, 0.6}), {0, 1, 0});
  context.add("pair", "net_2", logits_of({0.8, 0.3, 0.6}), {0, 1, 0});
  EXPECT_EQ(context.refusal("{ type = 'fidelity', teacher = 'teachre' }"),
            "error: there is no stage 'teachre'\n    hint: did you mean 'teacher'?");
  EXPECT_EQ(context.refusal("{ type = 'fidelity', teacher = 'pair' }"),
            "error: stage 'pair' has several networks: say which\n    hint: networks: net, net_2");
  EXPECT_EQ(context.refusal("{ type = 'fidelity', teacher = 'pair', network = 'net_3' }"),
            "error: stage 'pair' has no network 'net_3'\n    hint: did you mean 'net_2'?");
}

TEST(Fidelity, SaysWhatIsWrongWithTheControl) {
  FakeAnalysisContext context;
  add_teacher_and_two(context);
  EXPECT_EQ(context.refusal(toml(", control = 'alnoe'")),
            "error: there is no stage 'alnoe'\n    hint: did you mean 'alone'?");
  EXPECT_EQ(context.refusal(toml(", control = 'teacher'")), "'control' is the teacher itself: teacher/model");
  EXPECT_EQ(context.refusal(toml(", control_network = 'model'")),
            "value:1:1: error: analysis 'fidelity': 'control_network' names a network, and 'control' no stage");
  EXPECT_NE(context.refusal(toml(", splits = ['tset']")).find("did you mean 'test'?"), std::string::npos);
  EXPECT_TRUE(context.tables.empty());
}

}  // namespace
