// Tests of collected problems and of the name that was probably meant.
#include "kd/diagnostics.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace {

using Names = std::vector<std::string>;

kd::Location at(const std::string& source, int line, int column) {
  return {std::make_shared<const std::string>(source), line, column};
}

TEST(Diagnostics, AreEmptyAtFirst) {
  const kd::Diagnostics diagnostics;
  EXPECT_TRUE(diagnostics.ok());
  EXPECT_EQ(diagnostics.to_string(), "");
  EXPECT_NO_THROW(diagnostics.throw_if_any());
}

TEST(Diagnostics, ListProblemsInTheOrderOfTheFile) {
  kd::Diagnostics diagnostics;
  diagnostics.error(at("a.toml", 10, 2), "fourth");
  diagnostics.error(at("b.toml", 1, 1), "fifth, in a file mentioned later");
  diagnostics.error(at("a.toml", 9, 5), "second", "do this");
  diagnostics.error(at("a.toml", 9, 5), "third, at the same place");
  diagnostics.error(at("a.toml", 2, 30), "first");
  EXPECT_FALSE(diagnostics.ok());
  EXPECT_EQ(diagnostics.to_string(),
            "a.toml:2:30: error: first\n"
            "a.toml:9:5: error: second\n"
            "    hint: do this\n"
            "a.toml:9:5: error: third, at the same place\n"
            "a.toml:10:2: error: fourth\n"
            "b.toml:1:1: error: fifth, in a file mentioned later");
}

TEST(Diagnostics, NeedNoPlace) {
  kd::Diagnostics diagnostics;
  diagnostics.error({}, "somewhere");
  EXPECT_EQ(diagnostics.to_string(), "error: somewhere");
}

TEST(Diagnostics, ThrowAllProblemsAsOneError) {
  kd::Diagnostics diagnostics;
  diagnostics.error(at("a.toml", 1, 1), "one");
  diagnostics.error(at("a.toml", 2, 1), "two");
  try {
    diagnostics.throw_if_any();
    FAIL();
  } catch (const kd::RecipeError& error) {
    EXPECT_EQ(std::string(error.what()), diagnostics.to_string());
    EXPECT_EQ(error.code(), kd::ExitCode::kUsage);
  }
}

TEST(Error, CarriesTheExitCodeOfItsCause) {
  EXPECT_EQ(kd::Error("x").code(), kd::ExitCode::kFailed);
  EXPECT_EQ(kd::Error("x", kd::ExitCode::kNotFinite).code(), kd::ExitCode::kNotFinite);
  EXPECT_EQ(kd::FileError("x").code(), kd::ExitCode::kCorrupt);
  EXPECT_EQ(static_cast<int>(kd::ExitCode::kResumable), 75);
}

TEST(NearestName, ForgivesATypingMistake) {
  const Names known = {"temperature", "weight", "label_smoothing"};
  for (const char* typed : {"temprature", "temperatur", "temperatuer", "tempertaure", "temperature"}) {
    EXPECT_EQ(kd::nearest_name(typed, known), "temperature") << typed;
  }
  EXPECT_EQ(kd::nearest_name("labelsmoothing", known), "label_smoothing");
}

TEST(NearestName, CountsASwapOfNeighboursAsOneMistake) {
  EXPECT_EQ(kd::nearest_name("lr", {"rl"}), "rl");
  EXPECT_EQ(kd::nearest_name("lr", {"xy"}), "");
}

TEST(NearestName, DoesNotGuessWildly) {
  EXPECT_EQ(kd::nearest_name("momentum", {"temperature", "weight"}), "");
  EXPECT_EQ(kd::nearest_name("kd", {"dml"}), "");
  EXPECT_EQ(kd::nearest_name("anything", {}), "");
}

TEST(NearestName, PrefersTheNearestAndThenTheFirst) {
  EXPECT_EQ(kd::nearest_name("resnet21", {"resnet8", "resnet20", "resnet2"}), "resnet20");
  EXPECT_EQ(kd::nearest_name("stage2", {"stage1", "stage3"}), "stage1");
}

TEST(NameHint, SuggestsOrLists) {
  EXPECT_EQ(kd::name_hint("epoch", {"epochs", "batch_size"}), "did you mean 'epochs'?");
  EXPECT_EQ(kd::name_hint("momentum", {"lr", "epochs"}), "known: lr, epochs");
  EXPECT_EQ(kd::name_hint("momentum", {"lr"}, "known keys"), "known keys: lr");
  EXPECT_EQ(kd::name_hint("momentum", {}), "");
}

}  // namespace
