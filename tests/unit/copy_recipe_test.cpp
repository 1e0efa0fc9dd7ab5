// Tests of the recipes that come with kdrun, and of copies of them.
#include "recipe/copy_recipe.h"

#include <gtest/gtest.h>

#include <functional>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"
#include "recipe/merge.h"
#include "temporary_folder.h"

namespace {

namespace fs = std::filesystem;

/// A tree as kdrun's own: recipes/ with base/ in it.
class Tree : public TemporaryFolder {
 public:
  Tree() {
    write("tree/recipes/base/mnist.toml", "seed = 4\n");
    write("tree/recipes/base/small.toml", "[profile.small]\nseed = 5\n");
    write("tree/recipes/plain.toml", "title = \"Plain\"\n");
    write("tree/recipes/mnist/hinton.toml", kHinton);
    write("tree/recipes/mnist/README.md", "");
    fs::create_directories(path / "elsewhere/deep");
    fs::create_directories(path / "tree/mine");
  }

  const fs::path recipes = path / "tree/recipes";
  /// Every way to write a name, with something around it that must stay.
  static constexpr const char* kHinton =
      "# Hinton, Vinyals & Dean: \"extends\" = [1]\n"
      "title   = 'μ → extends'\n"
      "extends = [ # two\n"
      "  '../base/mnist.toml' , # α\n"
      "  \"..\\u002Fbase/small.toml\",\n"
      "]\n"
      "seed = 0x10   # stays\n"
      "\n";

  std::string copied(const std::string& name, const fs::path& copy) const {
    kd::copy_recipe(recipes, name, copy);
    return kd::read_text(copy);
  }
  std::string refusal(const std::string& name, const fs::path& copy) const {
    try {
      kd::copy_recipe(recipes, name, copy);
    } catch (const kd::Error& error) {
      return error.text();
    }
    return "no error";
  }
};

std::string with_bases(const std::string& before, const std::string& after) {
  return "# Hinton, Vinyals & Dean: \"extends\" = [1]\ntitle   = 'μ → extends'\nextends = [ # two\n  \"" + before +
         "/mnist.toml\" , # α\n  \"" + after + "/small.toml\",\n]\nseed = 0x10   # stays\n\n";
}

TEST(CopyRecipe, ListsWhatComesWithKdrun) {
  const Tree tree;
  std::string text;
  for (const kd::ShippedRecipe& recipe : kd::shipped_recipes(tree.recipes))
    text += recipe.name + ": " + recipe.title + "\n";
  EXPECT_EQ(text, "mnist/hinton.toml: μ → extends\nplain.toml: Plain\n");
}

TEST(CopyRecipe, KeepsEveryWordButExtends) {
  const Tree tree;
  const std::string base = (tree.recipes / "base").string();
  const fs::path copy = tree.path / "elsewhere/deep/my.toml";
  EXPECT_EQ(tree.copied("mnist/hinton.toml", copy), with_bases(base, base)) << "outside of the tree: absolute";
  EXPECT_EQ(tree.copied("mnist/hinton.toml", tree.path / "tree/mine/my.toml"),
            with_bases("../recipes/base", "../recipes/base"))
      << "inside of it: relative, so that the tree can be moved";
  EXPECT_EQ(tree.copied("mnist/hinton", tree.recipes / "my.toml"), with_bases("base", "base"));
  EXPECT_EQ(tree.copied("plain", tree.path / "plain.toml"), "title = \"Plain\"\n");
  const kd::Value original = kd::read_with_bases((tree.recipes / "mnist/hinton.toml").string());
  EXPECT_EQ(kd::read_with_bases(copy.string()), original);
}

TEST(CopyRecipe, ANameAloneIsExtendedToo) {
  const Tree tree;
  tree.write("tree/recipes/one.toml", "extends = 'base/mnist.toml'");
  EXPECT_EQ(tree.copied("one", tree.path / "tree/one.toml"), "extends = \"recipes/base/mnist.toml\"");
}

TEST(CopyRecipe, OverwritesNothingAndSaysWhatWasMeant) {
  const Tree tree;
  const std::string mine = tree.write("mine.toml", "mine");
  EXPECT_EQ(tree.refusal("plain", mine), "error: " + mine + " exists already; nothing was written. Give another name");
  EXPECT_EQ(kd::read_text(mine), "mine");
  fs::create_symlink("nowhere", tree.path / "link.toml");
  EXPECT_EQ(tree.refusal("plain", tree.path / "link.toml"),
            "error: " + (tree.path / "link.toml").string() + " exists already; nothing was written. Give another name");
  EXPECT_EQ(tree.refusal("plain", tree.path / "none/my.toml"),
            "error: there is no folder " + (tree.path / "none").string());
  EXPECT_EQ(tree.refusal("plain", "my"), "error: 'my' is no name for a recipe\n    hint: let it end in .toml");
  const fs::path copy = tree.path / "copy.toml";
  EXPECT_EQ(tree.refusal("plian.toml", copy),
            "error: there is no recipe 'plian.toml'\n    hint: did you mean 'plain.toml'?");
  for (const char* near : {"hinton.toml", "hinton", "hintn", "recipes/mnist/hinton.toml"}) {
    EXPECT_EQ(tree.refusal(near, copy),
              std::string("error: there is no recipe '") + near + "'\n    hint: did you mean 'mnist/hinton.toml'?");
  }
  EXPECT_EQ(tree.refusal("xyzzy", copy),
            "error: there is no recipe 'xyzzy'\n    hint: kdrun copy lists them: mnist/hinton.toml, plain.toml");
  EXPECT_EQ(tree.refusal("base/mnist.toml", copy).find("error: there is no recipe 'base/mnist.toml'"), 0U);
  EXPECT_FALSE(fs::exists(copy));
}

}  // namespace
