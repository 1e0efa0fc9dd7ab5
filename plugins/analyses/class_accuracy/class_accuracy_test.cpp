// Tests of the analysis "class_accuracy".
#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../shared/fake_context.h"
#include "kd/analysis.h"
#include "kd/plugin.h"

namespace {

/// Networks that answer one class to each sample.
class Context final : public analysis_checks::FakeContext {
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
    FakeContext::add(stage, network, logits, labels_).class_names = class_names_;
  }

 private:
  std::vector<std::string> class_names_;
  std::vector<std::int64_t> labels_;
};

void analyse(kd::AnalysisContext& context, const std::string& parameters = "") {
  kd::load_plugins();
  kd::make<kd::Analysis>("{ type = 'class_accuracy'" + parameters + " }")->run(context);
}

/// Class 0: three samples, class 1: one, class 2: none, class 3: two.
Context small_context() {
  Context context;
  context.set_data({"cat", "dog, small", "none", "the \"fox\""}, {0, 3, 0, 1, 0, 3});
  context.add("teacher", "net", {0, 3, 0, 1, 0, 3});
  context.add("student", "net", {0, 1, 2, 1, 1, 3});
  return context;
}

TEST(ClassAccuracy, WritesARowForEachClassAndAColumnForEachNetwork) {
  Context context = small_context();
  analyse(context);
  ASSERT_EQ(context.files.size(), 1U);
  EXPECT_EQ(context.files["class_accuracy.csv"],
            "class,name,samples,teacher/net,student/net\n"
            "\"0\",\"cat\",3,1.000000,0.333333\n"
            "\"1\",\"dog, small\",1,1.000000,1.000000\n"
            "\"2\",\"none\",0,,\n"
            "\"3\",\"the \"\"fox\"\"\",2,1.000000,0.500000\n");
}

TEST(ClassAccuracy, StagesMayDifferInTheirClasses) {
  Context context;
  context.set_data({"a", "b"}, {0, 1, 1});
  context.add("two", "net", {0, 1, 0});
  context.set_data({"c", "b"}, {0, 1, 1, 1});
  context.add("other", "net", {0, 1, 1, 1});
  analyse(context);
  EXPECT_EQ(context.files["class_accuracy.csv"],
            "class,name,samples,two/net,other/net\n"
            "\"0\",\"a\",1,1.000000,\n"
            "\"1\",\"b\",3,0.500000,1.000000\n"
            "\"2\",\"c\",1,,1.000000\n");
}

TEST(ClassAccuracy, ShowsFewClassesAsATable) {
  Context context = small_context();
  analyse(context);
  EXPECT_EQ(context.printed,
            "test accuracy of each class, in percent\n"
            "  class  name        samples  teacher/net  student/net\n"
            "      0  cat               3       100.00        33.33\n"
            "      1  dog, small        1       100.00       100.00\n"
            "      2  none              0            -            -\n"
            "      3  the \"fox\"         2       100.00        50.00\n");
}

TEST(ClassAccuracy, LooksAtSomeClassesAndTheirMean) {
  Context context = small_context();
  analyse(context, ", classes = [3, 0]");
  EXPECT_EQ(context.files["class_accuracy.csv"],
            "class,name,samples,teacher/net,student/net\n"
            "\"3\",\"the \"\"fox\"\"\",2,1.000000,0.500000\n"
            "\"0\",\"cat\",3,1.000000,0.333333\n");
  EXPECT_NE(context.printed.find("\n   mean                           100.00        41.67\n"), std::string::npos)
      << context.printed;
}

TEST(ClassAccuracy, LeavesClassesWithoutSamplesOutOfTheMean) {
  Context context = small_context();
  analyse(context, ", classes = [1, 2, 3]");
  EXPECT_NE(context.printed.find(" 75.00\n"), std::string::npos) << context.printed;
  Context empty = small_context();
  analyse(empty, ", classes = [2]");
  EXPECT_EQ(empty.printed.find("nan"), std::string::npos) << empty.printed;
}

/// 25 classes of 25 samples; the network knows class c from c other samples, and class 24 does not occur.
Context large_context() {
  constexpr std::int64_t kClasses = 25;
  std::vector<std::string> names;
  std::vector<std::int64_t> labels, predictions;
  for (std::int64_t c = 0; c < kClasses; ++c) {
    names.push_back("n" + std::to_string(c));
    for (std::int64_t i = 0; i < (c < kClasses - 1 ? kClasses : 0); ++i) {
      labels.push_back(c);
      predictions.push_back(i < c ? c : (c + 1) % kClasses);
    }
  }
  Context context;
  context.set_data(names, labels);
  context.add("teacher", "net", labels);
  context.add("student", "net", predictions);
  return context;
}

TEST(ClassAccuracy, ShowsTheWorstAndTheBestOfManyClasses) {
  Context context = large_context();
  analyse(context);
  EXPECT_TRUE(context.printed.starts_with("test accuracy of the worst and the best classes of student/net"))
      << context.printed;
  for (int c = 0; c < 25; ++c) {
    const bool shown = context.printed.find(" n" + std::to_string(c) + " ") != std::string::npos;
    EXPECT_EQ(shown, c < 5 || (c >= 19 && c < 24)) << c;
    EXPECT_NE(context.files["class_accuracy.csv"].find(",\"n" + std::to_string(c) + "\","), std::string::npos) << c;
  }
  EXPECT_LT(context.printed.find(" n0 "), context.printed.find(" n4 "));
  EXPECT_LT(context.printed.find(" n4 "), context.printed.find(" n23 "));
}

TEST(ClassAccuracy, RefusesAClassThatDoesNotExist) {
  Context context = small_context();
  try {
    analyse(context, ", classes = [0, 4]");
    FAIL() << "accepted class 4";
  } catch (const kd::Error& error) {
    EXPECT_NE(std::string(error.what()).find("there is no class 4"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(context.files.empty());
  EXPECT_THROW(analyse(context, ", classes = [-1]"), kd::RecipeError);
}

}  // namespace
