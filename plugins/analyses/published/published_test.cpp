// Tests of the analysis "published".
#include <cmath>

#include "kd/testing/analyses.h"

namespace {

using kd::testing::FakeAnalysisContext;

/// Two samples with confidence 3/4, of which one is answered rightly: accuracy 1/2, ECE 1/4, OE 3/4 · 1/4.
void add_network(FakeAnalysisContext& context) {
  const auto three = static_cast<float>(std::log(3.0));
  context.add("teacher", "model", at::tensor({three, 0.0F, three, 0.0F}).view({2, 2}), {0, 1});
}

std::string toml(const std::string& parameters) {
  return "{ type = 'published', source = 'Us (1999)', " + parameters + " }";
}

void expect_refusal(const std::string& parameters, const std::string& text) {
  FakeAnalysisContext context;
  add_network(context);
  const std::string answer = context.refusal(toml(parameters));
  EXPECT_NE(answer.find(text), std::string::npos) << answer;
}

TEST(Published, StandsBesideWhatWasMeasured) {
  FakeAnalysisContext context;
  add_network(context);
  context.analyse(toml("stages = ['teacher'], accuracy = [0.75], ece = [0.1], oe = [0.05]"));
  const kd::Table& table = context.tables.at("published");
  EXPECT_EQ(kd::testing::column_names(table), (std::vector<std::string>{"network", "accuracy", "published_accuracy",
                                                                        "ece", "published_ece", "oe", "published_oe"}));
  const std::vector<double> expected = {0.5, 0.75, 0.25, 0.1, 0.1875, 0.05};
  EXPECT_EQ(table.rows[0][0], kd::Cell("teacher/model"));
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(table.rows[0][i + 1].number(), expected[i], 1e-6);
  EXPECT_NE(context.shown[0].caption.find("published by Us (1999)"), std::string::npos);
}

TEST(Published, LeavesOutWhatWasNotPublished) {
  FakeAnalysisContext context;
  add_network(context);
  context.analyse(toml("stages = ['teacher'], accuracy = [0.75]"));
  EXPECT_EQ(kd::testing::column_names(context.tables.at("published")),
            (std::vector<std::string>{"network", "accuracy", "published_accuracy"}));
}

TEST(Published, SaysNothingOfOtherData) {
  FakeAnalysisContext context;
  add_network(context);
  dynamic_cast<kd::testing::FakeModel&>(*context.networks()[0]).data_.name = "fashion_mnist";
  context.analyse(toml("stages = ['teacher'], accuracy = [0.75], data = 'cifar100'"));
  EXPECT_TRUE(context.tables.empty());
  EXPECT_EQ(context.printed,
            "what Us (1999) published is of cifar100, and this run's data is fashion_mnist: not compared\n");
  context.analyse(toml("stages = ['teacher'], accuracy = [0.75], data = 'fashion_mnist'"));
  EXPECT_EQ(context.tables.size(), 1U);
}

TEST(Published, WantsANumberForEachNetwork) {
  expect_refusal("stages = ['teacher'], accuracy = []", "'accuracy' has 0 entries, and 'stages' has 1");
  expect_refusal("stages = ['teacher'], accuracy = [0.5], oe = [0.1, 0.2]", "'oe' has 2 entries, and 'stages' has 1");
  expect_refusal("stages = [], accuracy = []", "'stages' names no network");
  expect_refusal("stages = ['taecher'], accuracy = [0.5]", "no stage 'taecher'\n    hint: did you mean 'teacher'?");
}

}  // namespace
