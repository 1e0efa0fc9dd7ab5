// kdrun copy: the recipes that come with kdrun, and copies of them to change.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/command.h"
#include "kd/diagnostics.h"
#include "recipe/copy_recipe.h"

namespace kd::cli {

std::filesystem::path recipe_folder() {
  const std::filesystem::path program = own_program().parent_path();
  const std::filesystem::path installed = (program / KD_RECIPES_INSTALLED).lexically_normal();
  for (const std::filesystem::path& candidate : {installed, std::filesystem::path(KD_RECIPES_SOURCE)}) {
    if (std::filesystem::is_directory(candidate)) return candidate;
  }
  throw Error("the recipes are not there: neither in " + installed.string() + " nor in " KD_RECIPES_SOURCE);
}

namespace {

void list_recipes() {
  const std::vector<ShippedRecipe> recipes = shipped_recipes(recipe_folder());
  std::size_t width = 0;
  for (const ShippedRecipe& recipe : recipes) width = std::max(width, recipe.name.size());
  for (const ShippedRecipe& recipe : recipes) fmt::print("{:<{}}  {}\n", recipe.name, width, recipe.title);
}

}  // namespace

void add_copy(CLI::App& app) {
  struct Arguments {
    std::string name, copy;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("copy", "list the recipes that come with kdrun, or copy one to change it");
  command->add_option("recipe", given->name, "a recipe that comes with kdrun; left out: all are listed");
  command->add_option("file", given->copy, "the file to write, which must not exist");
  command->callback([given] {
    if (given->name.empty()) return list_recipes();
    if (given->copy.empty())
      throw RecipeError({}, "say where the copy goes", fmt::format("kdrun copy {} my.toml", given->name));
    copy_recipe(recipe_folder(), given->name, given->copy);
    fmt::print("wrote {0}; kdrun {0} trains it\n", given->copy);
  });
}

}  // namespace kd::cli
