// Tests of the analysis "published".
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "../shared/fake_context.h"

namespace {

using analysis_checks::FakeContext;
using analysis_checks::split_csv;

/// Two samples with confidence 3/4, of which one is answered rightly: accuracy 1/2, ECE 1/4, OE 3/4 · 1/4.
FakeContext one_network() {
  FakeContext context;
  const auto three = static_cast<float>(std::log(3.0));
  context.add("teacher", "model", at::tensor({three, 0.0F, three, 0.0F}).view({2, 2}), {0, 1});
  return context;
}

void analyse(FakeContext& context, const std::string& parameters) {
  kd::load_plugins();
  kd::make<kd::Analysis>("{ type = 'published', source = 'Us (1999)', " + parameters + " }")->run(context);
}

void expect_error(const std::string& parameters, const std::string& text) {
  FakeContext context = one_network();
  try {
    analyse(context, parameters);
    FAIL() << "no error: " << text;
  } catch (const kd::Error& error) {
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

TEST(Published, StandsBesideWhatWasMeasured) {
  FakeContext context = one_network();
  analyse(context, "stages = ['teacher'], accuracy = [0.75], ece = [0.1], oe = [0.05]");
  const auto lines = split_csv(context.files.at("published.csv"));
  EXPECT_EQ(lines[0], (std::vector<std::string>{"network", "accuracy", "published_accuracy", "ece", "published_ece",
                                                "oe", "published_oe"}));
  EXPECT_EQ(lines[1],
            (std::vector<std::string>{"teacher/model", "0.5000", "0.7500", "0.2500", "0.1000", "0.1875", "0.0500"}));
  EXPECT_NE(context.printed.find("published by Us (1999)"), std::string::npos);
}

TEST(Published, LeavesOutWhatWasNotPublished) {
  FakeContext context = one_network();
  analyse(context, "stages = ['teacher'], accuracy = [0.75]");
  EXPECT_EQ(split_csv(context.files.at("published.csv"))[0],
            (std::vector<std::string>{"network", "accuracy", "published_accuracy"}));
}

TEST(Published, WantsANumberForEachNetwork) {
  expect_error("stages = ['teacher'], accuracy = []", "'accuracy' has 0 entries, and 'stages' has 1");
  expect_error("stages = ['teacher'], accuracy = [0.5], oe = [0.1, 0.2]", "'oe' has 2 entries, and 'stages' has 1");
  expect_error("stages = [], accuracy = []", "'stages' names no network");
  expect_error("stages = ['taecher'], accuracy = [0.5]", "no stage 'taecher'\n    hint: did you mean 'teacher'?");
}

}  // namespace
