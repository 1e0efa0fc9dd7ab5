// recipe_references.h
#include "report/recipe_references.h"

#include <algorithm>

#include "kd/diagnostics.h"
#include "recipe/toml_reader.h"

namespace kd {
namespace {

bool names(const std::string& text, const std::filesystem::path& run) {
  std::filesystem::path path = std::filesystem::path(text).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (path.empty() || path.filename() != run.filename()) return false;
  const std::filesystem::path around = path.parent_path().filename();
  return around.empty() || around == run.parent_path().filename();
}

void collect(const Value& value, const std::filesystem::path& run, const std::string& stage,
             std::vector<RunReference>& references) {
  if (value.is_string() && names(value.as_string(), run)) references.push_back({stage});
  if (value.is_list()) {
    for (const Value& item : value.as_list()) collect(item, run, stage, references);
  }
  if (!value.is_table()) return;
  const Value* own = value.find("stage");
  const std::string named = own != nullptr && own->is_string() ? own->as_string() : "";
  for (const Member& member : value.as_table()) collect(member.value, run, named, references);
}

}  // namespace

std::vector<RunReference> references_to(const std::filesystem::path& run, const std::filesystem::path& file) {
  std::vector<RunReference> references;
  try {
    collect(read_toml_file(file.string()), run, "", references);
  } catch (const Error&) {
    references.clear();
  }
  return references;
}

bool has_stage(const std::filesystem::path& file, const std::string& name) {
  try {
    const Value recipe = read_toml_file(file.string());
    const Value* stages = recipe.find("stage");
    if (stages == nullptr || !stages->is_list()) return true;
    return std::any_of(stages->as_list().begin(), stages->as_list().end(), [&](const Value& stage) {
      const Value* own = stage.find("name");
      return own != nullptr && own->is_string() && own->as_string() == name;
    });
  } catch (const Error&) {
    return true;
  }
}

}  // namespace kd
