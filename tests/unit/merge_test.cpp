// Tests of inheritance, merging and overrides of recipes.
#include "recipe/merge.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "recipe/toml_reader.h"
#include "temporary_folder.h"

namespace {

using kd::Value;

std::string place(const kd::Location& location) { return location.to_string(); }

/// `over` laid on `base`, as TOML; the problems, where there are any.
std::string merged(const std::string& base, const std::string& over) {
  Value result = kd::read_toml(base, "base.toml");
  kd::Diagnostics diagnostics;
  kd::merge(result, kd::read_toml(over, "over.toml"), diagnostics);
  return diagnostics.ok() ? result.to_toml() : diagnostics.to_string();
}

TEST(Merge, GoesThroughTablesKeyByKey) {
  EXPECT_EQ(merged("a = 1\nb = { c = 1, d = { e = 1, f = 2 } }", "b = { d = { f = 3, g = 4 } }\nh = 5"),
            "{ a = 1, b = { c = 1, d = { e = 1, f = 3, g = 4 } }, h = 5 }");
}

TEST(Merge, ReplacesListsAndScalars) {
  EXPECT_EQ(merged("a = [1, 2, 3]\nb = 1", "a = [4]\nb = 'x'"), "{ a = [4], b = \"x\" }");
  EXPECT_EQ(merged("a = [{ b = 1 }]", "a = [{ c = 1 }]"), "{ a = [{ c = 1 }] }");
}

TEST(Merge, ATableOfTablesChangesItemsOfAList) {
  const std::string base = "analysis = [{ type = 'calibration' }, { type = 'flatness', draws = 10, samples = 5 }]";
  EXPECT_EQ(merged(base, "analysis.flatness = { draws = 2 }\nanalysis.0 = { bins = 3 }"),
            "{ analysis = [{ type = \"calibration\", bins = 3 }, { type = \"flatness\", draws = 2, samples = 5 }] }");
  EXPECT_EQ(merged(base, "analysis.flatnes = { draws = 2 }"),
            "over.toml:1:10: error: there is no 'flatnes' in a list of 2\n    hint: did you mean 'flatness'?");
  EXPECT_EQ(merged(base, "analysis = { type = 'x' }"), "{ analysis = { type = \"x\" } }");
}

TEST(Merge, ReplacesAcrossKinds) {
  EXPECT_EQ(merged("a = { b = 1 }", "a = 2"), "{ a = 2 }");
  EXPECT_EQ(merged("a = 2", "a = { b = 1 }"), "{ a = { b = 1 } }");
}

TEST(Merge, KeepsParametersOfTheSameTypeOnly) {
  const std::string base = "optimizer = { type = 'sgd', lr = 0.1, momentum = 0.9 }";
  EXPECT_EQ(merged(base, "optimizer = { type = 'sgd', lr = 0.2 }"),
            "{ optimizer = { type = \"sgd\", lr = 0.2, momentum = 0.9 } }");
  EXPECT_EQ(merged(base, "optimizer = { lr = 0.2 }"), "{ optimizer = { type = \"sgd\", lr = 0.2, momentum = 0.9 } }");
  EXPECT_EQ(merged(base, "optimizer = { type = 'adam', lr = 0.2 }"), "{ optimizer = { type = \"adam\", lr = 0.2 } }");
}

constexpr const char* kStages = "[[stage]]\nname = 'teacher'\nepochs = 1\n[[stage]]\nname = 'student'\nepochs = 2\n";

TEST(Merge, AddressesStagesByName) {
  EXPECT_EQ(merged(kStages, "[stage.student]\nepochs = 5\nlr = 1"),
            "{ stage = [{ name = \"teacher\", epochs = 1 }, { name = \"student\", epochs = 5, lr = 1 }] }");
}

TEST(Merge, ReplacesAllStagesByAList) {
  EXPECT_EQ(merged(kStages, "[[stage]]\nname = 'other'"), "{ stage = [{ name = \"other\" }] }");
}

TEST(Merge, ReportsAStageThatIsNotThere) {
  EXPECT_EQ(merged(kStages, "[stage.studnet]\nepochs = 5"),
            "over.toml:1:8: error: there is no stage 'studnet'\n    hint: did you mean 'student'?");
  EXPECT_EQ(merged(kStages, "\n[stage.x]\nepochs = 5"),
            "over.toml:2:8: error: there is no stage 'x'\n    hint: stages: teacher, student");
}

TEST(Merge, KeepsThePlaceOfEachValue) {
  Value result = kd::read_toml("a = { b = 1, c = 2 }", "base.toml");
  kd::Diagnostics diagnostics;
  kd::merge(result, kd::read_toml("[a]\nc = 3\n d = 4", "over.toml"), diagnostics);
  const Value& a = *result.find("a");
  EXPECT_EQ(place(a.find("b")->location), "base.toml:1:11");
  EXPECT_EQ(place(a.find("c")->location), "over.toml:2:5");
  EXPECT_EQ(place(a.find("d")->location), "over.toml:3:6");
  EXPECT_EQ(place(a.as_table()[2].key_location), "over.toml:3:2");
}

std::string extends_error(const std::string& file) {
  try {
    kd::read_with_bases(file);
  } catch (const kd::RecipeError& error) {
    return error.what();
  }
  return "";
}

TEST(Extends, LaysTheFileOnItsBase) {
  const TemporaryFolder folder;
  folder.write("base.toml", "a = 1\nb = { c = 1, d = 2 }");
  const std::string file = folder.write("recipe.toml", "extends = 'base.toml'\nb.c = 3\ne = 4");
  const Value recipe = kd::read_with_bases(file);
  EXPECT_EQ(recipe.to_toml(), "{ a = 1, b = { c = 3, d = 2 }, e = 4 }");
  EXPECT_EQ(place(recipe.find("a")->location), (folder.path / "base.toml").string() + ":1:5");
  EXPECT_EQ(place(recipe.find("b")->find("c")->location), file + ":2:7");
}

TEST(Extends, LooksFromTheFolderOfTheFileThatSaysSo) {
  const TemporaryFolder folder;
  folder.write("shared/deep/root.toml", "a = 'root'\nb = 'root'\nc = 'root'");
  folder.write("shared/base.toml", "extends = 'deep/root.toml'\nb = 'base'\nc = 'base'");
  const std::string file = folder.write("own/recipe.toml", "extends = '../shared/base.toml'\nc = 'own'");
  EXPECT_EQ(kd::read_with_bases(file).to_toml(), "{ a = \"root\", b = \"base\", c = \"own\" }");
}

TEST(Extends, LaysLaterBasesOnEarlierOnes) {
  const TemporaryFolder folder;
  folder.write("one.toml", "a = 1\nb = 1");
  folder.write("two.toml", "b = 2\nc = 2");
  EXPECT_EQ(kd::read_with_bases(folder.write("recipe.toml", "extends = ['one.toml', 'two.toml']\nc = 3")).to_toml(),
            "{ a = 1, b = 2, c = 3 }");
}

TEST(Extends, AllowsABaseOfTwoBases) {
  const TemporaryFolder folder;
  folder.write("root.toml", "a = 1");
  folder.write("one.toml", "extends = 'root.toml'\nb = 1");
  folder.write("two.toml", "extends = 'root.toml'\nc = 1");
  EXPECT_EQ(kd::read_with_bases(folder.write("recipe.toml", "extends = ['one.toml', 'two.toml']")).to_toml(),
            "{ a = 1, b = 1, c = 1 }");
}

TEST(Extends, AddressesStagesOfTheBaseByName) {
  const TemporaryFolder folder;
  folder.write("base.toml", kStages);
  EXPECT_EQ(
      kd::read_with_bases(folder.write("recipe.toml", "extends = 'base.toml'\n[stage.teacher]\nepochs = 9")).to_toml(),
      "{ stage = [{ name = \"teacher\", epochs = 9 }, { name = \"student\", epochs = 2 }] }");
  const std::string wrong = folder.write("wrong.toml", "extends = 'base.toml'\n[stage.techer]\nepochs = 9");
  EXPECT_EQ(extends_error(wrong), wrong + ":2:8: error: there is no stage 'techer'\n    hint: did you mean 'teacher'?");
}

TEST(Extends, RefusesACircle) {
  const TemporaryFolder folder;
  folder.write("one.toml", "extends = 'two.toml'");
  const std::string two = folder.write("two.toml", "a = 1\nextends = 'one.toml'");
  EXPECT_EQ(extends_error(two),
            (folder.path / "one.toml").string() + ":1:11: error: 'two.toml' extends this recipe in turn");
  const std::string self = folder.write("self.toml", "extends = './self.toml'");
  EXPECT_EQ(extends_error(self), self + ":1:11: error: './self.toml' extends this recipe in turn");
}

TEST(Extends, NamesABaseThatIsMissing) {
  const TemporaryFolder folder;
  const std::string file = folder.write("recipe.toml", "a = 1\nextends = ['none.toml']");
  EXPECT_EQ(extends_error(file), file + ":2:12: error: there is no file " + (folder.path / "none.toml").string() +
                                     "\n    hint: names in 'extends' are relative to the recipe that holds them");
}

TEST(Extends, WantsAFileName) {
  const TemporaryFolder folder;
  const std::string number = folder.write("number.toml", "extends = 3");
  EXPECT_EQ(extends_error(number),
            number + ":1:11: error: 'extends' is a file name or a list of them, and this is an integer");
  const std::string table = folder.write("table.toml", "extends = [{ a = 1 }]");
  EXPECT_EQ(extends_error(table),
            table + ":1:12: error: 'extends' is a file name or a list of them, and this is a table");
}

constexpr const char* kRecipe =
    "title = 'x'\n"
    "[train]\n"
    "epochs = 3\n"
    "optimizer = { type = 'sgd', lr = 0.1 }\n"
    "augment = [{ type = 'flip' }, { type = 'crop', padding = 4 }]\n"
    "[[stage]]\n"
    "name = 'teacher'\n"
    "[[stage]]\n"
    "name = 'student'\n"
    "scheme = { losses = [{ weight = 0.1 }, { weight = 0.9 }] }\n";

/// The value that stands under `key` of `table` after an override of kRecipe; the problems, where there are any.
std::string overridden(const std::string& text, const std::string& table, const std::string& key) {
  Value recipe = kd::read_toml(kRecipe, "recipe.toml");
  kd::Diagnostics diagnostics;
  kd::apply_override(recipe, text, diagnostics);
  if (!diagnostics.ok()) return diagnostics.to_string();
  const Value* at = table.empty() ? &recipe : recipe.find(table);
  const Value* value = at->find(key);
  return value == nullptr ? "nothing" : value->to_toml();
}

std::string problem(const std::string& text) { return overridden(text, "", "title"); }

TEST(Override, SetsAValue) {
  EXPECT_EQ(overridden("train.epochs=5", "train", "epochs"), "5");
  EXPECT_EQ(overridden("train.optimizer.lr=1e-3", "train", "optimizer"), "{ type = \"sgd\", lr = 0.001 }");
  EXPECT_EQ(overridden("title=\"a = b. c\"", "", "title"), "\"a = b. c\"");
  EXPECT_EQ(overridden("title='single'", "", "title"), "\"single\"");
  EXPECT_EQ(overridden("train.augment=[]", "train", "augment"), "[]");
  EXPECT_EQ(overridden("seed=7", "", "seed"), "7");
}

TEST(Override, MakesTablesOnItsWay) {
  EXPECT_EQ(overridden("data.split.validation=5", "data", "split"), "{ validation = 5 }");
}

TEST(Override, MergesATable) {
  EXPECT_EQ(overridden("train.optimizer={ lr = 0.5 }", "train", "optimizer"), "{ type = \"sgd\", lr = 0.5 }");
  EXPECT_EQ(overridden("train.optimizer={ type = 'adam' }", "train", "optimizer"), "{ type = \"adam\" }");
}

TEST(Override, AddressesStagesByName) {
  EXPECT_EQ(overridden("stage.teacher.epochs=9", "", "stage").substr(0, 37), "[{ name = \"teacher\", epochs = 9 }, { ");
  EXPECT_EQ(overridden("stage={ teacher = { epochs = 9 } }", "", "stage").substr(0, 37),
            "[{ name = \"teacher\", epochs = 9 }, { ");
}

TEST(Override, AddressesListsByPosition) {
  EXPECT_EQ(overridden("train.augment.1.padding=2", "train", "augment"),
            "[{ type = \"flip\" }, { type = \"crop\", padding = 2 }]");
  EXPECT_EQ(overridden("train.augment.0={ type = 'none' }", "train", "augment"),
            "[{ type = \"none\" }, { type = \"crop\", padding = 4 }]");
  EXPECT_NE(
      overridden("stage.student.scheme.losses.1.weight=3", "", "stage").find("[{ weight = 0.1 }, { weight = 3 }]"),
      std::string::npos);
}

TEST(Override, AddressesItemsOfListsByType) {
  EXPECT_EQ(overridden("train.augment.crop.padding=2", "train", "augment"),
            "[{ type = \"flip\" }, { type = \"crop\", padding = 2 }]");
  const std::string twice = "train.augment=[{ type = 'crop' }, { type = 'crop', name = 'second' }]";
  Value recipe = kd::read_toml(kRecipe, "recipe.toml");
  kd::Diagnostics diagnostics;
  kd::apply_override(recipe, twice, diagnostics);
  kd::apply_override(recipe, "train.augment.second.padding=1", diagnostics);
  EXPECT_EQ(diagnostics.to_string(), "");
  EXPECT_EQ(recipe.find("train")->find("augment")->to_toml(),
            "[{ type = \"crop\" }, { type = \"crop\", name = \"second\", padding = 1 }]");
  kd::apply_override(recipe, "train.augment.crop.padding=1", diagnostics);
  EXPECT_EQ(
      diagnostics.to_string(),
      "override 'train.augment.crop.padding=1':15: error: there are 2 'crop' in a list of 2\n    hint: say which by "
      "its position, counted from 0");
}

TEST(Override, SaysThatAKeyAndAValueAreWanted) {
  EXPECT_EQ(problem("train.epochs"),
            "override 'train.epochs':1: error: an override reads key=value\n    hint: for example train.epochs=5");
  EXPECT_EQ(problem("=5"), "override '=5':1: error: an override reads key=value\n    hint: for example train.epochs=5");
  EXPECT_EQ(problem("title="), "override 'title=':7: error: '' is no TOML value");
}

TEST(Override, SaysThatAStringNeedsQuotes) {
  EXPECT_EQ(problem("title=new"),
            "override 'title=new':7: error: 'new' is no TOML value\n    hint: a string needs quotes, and a shell takes "
            "one pair away: 'title=\"new\"'");
}

TEST(Override, PointsAtTheStepThatIsWrong) {
  EXPECT_EQ(problem("train..epochs=5"), "override 'train..epochs=5':7: error: a key is missing here");
  EXPECT_EQ(problem(".train=5"), "override '.train=5':1: error: a key is missing here");
  EXPECT_EQ(problem("train.=5"), "override 'train.=5':7: error: a key is missing here");
  EXPECT_EQ(problem("train.epochs.most=5"),
            "override 'train.epochs.most=5':14: error: there is no 'most' in an integer");
  EXPECT_EQ(
      problem("stage.studnet.epochs=5"),
      "override 'stage.studnet.epochs=5':7: error: there is no stage 'studnet'\n    hint: did you mean 'student'?");
  EXPECT_EQ(problem("stage={ x = {} }"),
            "override 'stage={ x = {} }':7: error: there is no stage 'x'\n    hint: stages: teacher, student");
}

TEST(Override, PointsAtAnItemThatIsNotThere) {
  EXPECT_EQ(
      problem("train.augment.2.p=0.5"),
      "override 'train.augment.2.p=0.5':15: error: '2' is no position in a list of 2\n    hint: positions count from "
      "0");
  for (const std::string step : {"-1", "1x", "99999999999999999999"}) {
    const std::string text = "train.augment." + step + ".p=0.5";
    EXPECT_EQ(problem(text), "override '" + text + "':15: error: there is no '" + step +
                                 "' in a list of 2\n    hint: it holds: flip, crop");
  }
  EXPECT_EQ(problem("train.augment.flup.p=0.5"),
            "override 'train.augment.flup.p=0.5':15: error: there is no 'flup' in a list of 2\n    hint: did you mean "
            "'flip'?");
}

TEST(Override, IsThePlaceOfWhatItSets) {
  Value recipe = kd::read_toml(kRecipe, "recipe.toml");
  kd::Diagnostics diagnostics;
  kd::apply_override(recipe, "data.list=[{ a = 1 }]", diagnostics);
  kd::apply_override(recipe, "train.epochs=9", diagnostics);
  const Value& data = *recipe.find("data");
  EXPECT_EQ(place(data.find("list")->location), "override 'data.list=[{ a = 1 }]':11");
  EXPECT_EQ(place(data.find("list")->as_list()[0].find("a")->location), "override 'data.list=[{ a = 1 }]':11");
  EXPECT_EQ(place(data.find("list")->as_list()[0].as_table()[0].key_location), "override 'data.list=[{ a = 1 }]':11");
  EXPECT_EQ(place(data.as_table()[0].key_location), "override 'data.list=[{ a = 1 }]':6");
  EXPECT_EQ(place(recipe.as_table().back().key_location), "override 'data.list=[{ a = 1 }]':1");
  EXPECT_EQ(place(recipe.find("train")->find("epochs")->location), "override 'train.epochs=9':14");
  EXPECT_EQ(place(recipe.find("train")->find("optimizer")->location), "recipe.toml:4:13");
}

}  // namespace
