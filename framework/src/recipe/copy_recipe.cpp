// copy_recipe.h: what is rewritten is found by its place, so that everything around it stays.
#include "recipe/copy_recipe.h"

#include <fmt/format.h>

#include <algorithm>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"
#include "recipe/merge.h"
#include "recipe/toml_reader.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

/// The names that are near: as they are, or without their folder and ending.
std::string hint_for(const std::string& name, const std::vector<ShippedRecipe>& recipes) {
  const auto stem = [](const std::string& text) { return fs::path(text).stem().string(); };
  std::vector<std::string> known, stems;
  for (const ShippedRecipe& recipe : recipes) {
    known.push_back(recipe.name);
    stems.push_back(stem(recipe.name));
  }
  const std::string wanted = stem(name);
  const bool is_stem = std::find(stems.begin(), stems.end(), wanted) != stems.end();
  const std::string nearest = is_stem ? wanted : nearest_name(wanted, stems);
  const auto found = std::find(stems.begin(), stems.end(), nearest);
  if (found != stems.end()) return "did you mean '" + known[static_cast<std::size_t>(found - stems.begin())] + "'?";
  return name_hint(name, known, "kdrun copy lists them");
}

/// Where the character at `location` of `text` is. Columns count characters, of one or more bytes.
std::size_t offset_of(const Location& location, const std::string& text) {
  std::size_t at = 0;
  for (int line = 1; line < location.line; ++line) at = text.find('\n', at) + 1;
  for (int column = 1; column < location.column; ++column) {
    ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) ++at;
  }
  return at;
}

/// Behind the TOML string that begins at `begin`.
std::size_t end_of_string(const std::string& text, std::size_t begin) {
  const char quote = text[begin];
  std::size_t end = begin + 1;
  while (text.at(end) != quote) end += quote == '"' && text[end] == '\\' ? 2 : 1;
  return end + 1;
}

/// `base` as `extends` of a recipe in the folder `around` has it: relative inside of the tree that the recipes lie in,
/// which may be moved as a whole.
std::string path_from(const fs::path& around, const fs::path& base, const fs::path& tree) {
  const fs::path inside = around.lexically_relative(tree);
  const bool is_inside = !inside.empty() && *inside.begin() != "..";
  return is_inside ? base.lexically_relative(around).string() : base.string();
}

/// The text of the recipe `file`, as it has to be in the folder `around`.
std::string text_for(const fs::path& file, const fs::path& around, const fs::path& tree) {
  std::string text = read_text(file);
  const Value recipe = read_toml(text, file.string());
  const Value* extends = recipe.find("extends");
  if (extends == nullptr) return text;
  const Value::List bases = extends->is_list() ? extends->as_list() : Value::List{*extends};
  // From the last to the first, so that the places of those before stay right.
  for (auto base = bases.rbegin(); base != bases.rend(); ++base) {
    const fs::path target = (file.parent_path() / base->as_string()).lexically_normal();
    const std::size_t begin = offset_of(base->location, text);
    text.replace(begin, end_of_string(text, begin) - begin, Value(path_from(around, target, tree)).to_toml());
  }
  return text;
}

}  // namespace

std::vector<ShippedRecipe> shipped_recipes(const std::filesystem::path& folder) {
  std::vector<ShippedRecipe> recipes;
  for (const auto& item : fs::recursive_directory_iterator(folder)) {
    const std::string name = item.path().lexically_relative(folder).string();
    if (item.path().extension() != ".toml" || name.starts_with("base/")) continue;
    const Value recipe = read_with_bases(item.path().string());
    const Value* title = recipe.find("title");
    recipes.push_back({name, title != nullptr && title->is_string() ? title->as_string() : ""});
  }
  std::sort(recipes.begin(), recipes.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return recipes;
}

void copy_recipe(const std::filesystem::path& folder, const std::string& name, const std::filesystem::path& copy) {
  const std::vector<ShippedRecipe> recipes = shipped_recipes(folder);
  const auto found = std::find_if(recipes.begin(), recipes.end(), [&](const ShippedRecipe& recipe) {
    return recipe.name == name || recipe.name == name + ".toml";
  });
  if (found == recipes.end())
    throw RecipeError({}, fmt::format("there is no recipe '{}'", name), hint_for(name, recipes));
  if (copy.extension() != ".toml")
    throw RecipeError({}, fmt::format("'{}' is no name for a recipe", copy.string()), "let it end in .toml");
  if (fs::exists(fs::symlink_status(copy)))
    throw Error(copy.string() + " exists already; nothing was written. Give another name");
  const fs::path around = fs::absolute(copy).lexically_normal().parent_path();
  if (!fs::is_directory(around)) throw Error("there is no folder " + around.string());
  const fs::path recipes_folder = fs::canonical(folder);
  write_file(copy, text_for(recipes_folder / found->name, fs::canonical(around), recipes_folder.parent_path()));
}

}  // namespace kd
