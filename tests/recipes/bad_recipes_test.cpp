// Wrong recipes and overrides with the exact text that kdrun answers: bad_recipes.txt holds both.
//
// With KDRUN_UPDATE_GOLDEN set, the answers in the file are written anew; read them before you commit them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "kd/diagnostics.h"
#include "kd/plugin.h"
#include "plugin/registry.h"
#include "recipe/plan.h"

namespace {

struct Case {
  std::string name;
  std::string profile;
  std::vector<std::string> overrides;
  std::string recipe;
  std::string answer;
};

/// A case reads: "=== name", lines "override: …" or "profile: …", the recipe, "--->", the answer.
std::vector<Case> read_cases() {
  std::vector<Case> cases;
  std::ifstream stream(KD_BAD_RECIPES);
  bool in_answer = false;
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("=== ")) {
      cases.push_back({line.substr(4), "", {}, "", ""});
      in_answer = false;
    } else if (cases.empty()) {
      continue;  // the file's own first lines
    } else if (line == "--->") {
      in_answer = true;
    } else if (in_answer) {
      cases.back().answer += line + "\n";
    } else if (line.starts_with("override: ")) {
      cases.back().overrides.push_back(line.substr(10));
    } else if (line.starts_with("profile: ")) {
      cases.back().profile = line.substr(9);
    } else {
      cases.back().recipe += line + "\n";
    }
  }
  return cases;
}

std::string answer_to(const Case& item) {
  std::ofstream("recipe.toml") << item.recipe;
  try {
    kd::read_recipe("recipe.toml", {.profile = item.profile, .overrides = item.overrides}, kd::registry());
  } catch (const kd::Error& error) {
    return std::string(error.what()) + (error.code() == kd::ExitCode::kUsage ? "\n" : "\n(not a usage error)\n");
  }
  return "(no error)\n";
}

TEST(BadRecipes, EachGetsItsAnswer) {
  kd::load_plugins();
  const std::vector<Case> cases = read_cases();
  EXPECT_GE(cases.size(), 60U);
  const auto before = std::filesystem::current_path();
  const auto folder = std::filesystem::temp_directory_path() / ("kdrun_bad_recipes_" + std::to_string(std::rand()));
  std::filesystem::create_directories(folder);
  std::filesystem::current_path(folder);
  std::ofstream("loop.toml") << "extends = \"recipe.toml\"\n";
  std::string rewritten;
  for (const Case& item : cases) {
    const std::string answer = answer_to(item);
    rewritten += "=== " + item.name + "\n";
    if (!item.profile.empty()) rewritten += "profile: " + item.profile + "\n";
    for (const std::string& text : item.overrides) rewritten += "override: " + text + "\n";
    rewritten += item.recipe + "--->\n" + answer;
    if (std::getenv("KDRUN_UPDATE_GOLDEN") == nullptr) {
      EXPECT_EQ(answer, item.answer) << item.name;
    }
  }
  std::filesystem::current_path(before);
  std::filesystem::remove_all(folder);
  if (std::getenv("KDRUN_UPDATE_GOLDEN") == nullptr) return;
  std::ifstream old(KD_BAD_RECIPES);
  std::ostringstream text;
  for (std::string line; std::getline(old, line) && !line.starts_with("=== ");) text << line << "\n";
  old.close();
  std::ofstream(KD_BAD_RECIPES) << text.str() << rewritten;
}

}  // namespace
