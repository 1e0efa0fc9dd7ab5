// The recipes that come with kdrun, and copies of them to change.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kd/api.h"

namespace kd {

struct KD_API ShippedRecipe {
  std::string name;  ///< its file below the folder of recipes: "mnist/hinton.toml"
  std::string title;
};

/// The recipes below `folder` by name, without the parts in base/ that others extend.
KD_API std::vector<ShippedRecipe> shipped_recipes(const std::filesystem::path& folder);

/// Copies the recipe `name` of `folder` to the file `copy`, word for word but for `extends`, which finds the same files
/// from there. Throws RecipeError where there is no such recipe, and Error where `copy` exists or cannot be written.
KD_API void copy_recipe(const std::filesystem::path& folder, const std::string& name,
                        const std::filesystem::path& copy);

}  // namespace kd
