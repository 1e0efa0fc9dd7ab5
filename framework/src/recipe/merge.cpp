// merge.h: inheritance, profiles and overrides.
#include "recipe/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "recipe/toml_reader.h"

namespace kd {
namespace {

Value* find_stage(Value& stages, std::string_view name) {
  for (Value& stage : stages.as_list()) {
    const Value* own_name = stage.find("name");
    if (own_name != nullptr && own_name->is_string() && own_name->as_string() == name) return &stage;
  }
  return nullptr;
}

std::vector<std::string> stage_names(const Value& stages) {
  std::vector<std::string> names;
  for (const Value& stage : stages.as_list()) {
    const Value* name = stage.find("name");
    if (name != nullptr && name->is_string()) names.push_back(name->as_string());
  }
  return names;
}

void merge_stages_by_name(Value& stages, const Value& over, Diagnostics& diagnostics) {
  for (const Member& member : over.as_table()) {
    if (Value* stage = find_stage(stages, member.key)) {
      merge(*stage, member.value, diagnostics);
    } else {
      diagnostics.error(member.key_location, fmt::format("there is no stage '{}'", member.key),
                        name_hint(member.key, stage_names(stages), "stages"));
    }
  }
}

bool of_other_type(const Value& base, const Value& over) {
  const Value* old_type = base.find("type");
  const Value* new_type = over.find("type");
  return old_type != nullptr && new_type != nullptr && !(*old_type == *new_type);
}

Value read_with_bases(const std::string& file, std::vector<std::filesystem::path>& open) {
  const std::filesystem::path canonical = std::filesystem::weakly_canonical(file);
  Value recipe = read_toml_file(file);
  const Value* extends = recipe.find("extends");
  if (extends == nullptr) return recipe;
  open.push_back(canonical);
  Value result = Value(Value::Table{});
  Diagnostics diagnostics;
  const Value::List bases = extends->is_list() ? extends->as_list() : Value::List{*extends};
  for (const Value& base : bases) {
    if (!base.is_string()) {
      throw RecipeError(base.location, "'extends' is a file name or a list of them, and this is " + base.kind_name());
    }
    const std::filesystem::path path = std::filesystem::path(file).parent_path() / base.as_string();
    if (!std::filesystem::is_regular_file(path)) {
      throw RecipeError(base.location, "there is no file " + path.string(),
                        "names in 'extends' are relative to the recipe that holds them");
    }
    if (std::find(open.begin(), open.end(), std::filesystem::weakly_canonical(path)) != open.end()) {
      throw RecipeError(base.location, "'" + base.as_string() + "' extends this recipe in turn");
    }
    merge(result, read_with_bases(path.string(), open), diagnostics);
  }
  open.pop_back();
  recipe.erase("extends");
  merge(result, recipe, diagnostics);
  diagnostics.throw_if_any();
  result.location = recipe.location;
  return result;
}

}  // namespace

bool is_list_position(std::string_view step) {
  return !step.empty() && step.size() < 6 && step.find_first_not_of("0123456789") == std::string_view::npos;
}

void merge(Value& base, const Value& over, Diagnostics& diagnostics) {
  if (!base.is_table() || !over.is_table() || of_other_type(base, over)) {
    base = over;
    return;
  }
  for (const Member& member : over.as_table()) {
    Value* old = base.find(member.key);
    if (old == nullptr) {
      base.set(member.key, member.value, member.key_location);
    } else if (member.key == "stage" && old->is_list() && member.value.is_table()) {
      merge_stages_by_name(*old, member.value, diagnostics);
    } else {
      merge(*old, member.value, diagnostics);
    }
  }
}

Value read_with_bases(const std::string& file) {
  std::vector<std::filesystem::path> open;
  return read_with_bases(file, open);
}

namespace {

void place_all(Value& value, const Location& location) {
  value.location = location;
  if (value.is_list()) {
    for (Value& item : value.as_list()) place_all(item, location);
  } else if (value.is_table()) {
    for (Member& member : value.as_table()) {
      member.key_location = location;
      place_all(member.value, location);
    }
  }
}

/// The value under one step of an override's path, made if it is a new key of a table; null where there can be none.
Value* descend(Value& at, const std::string& step, bool stage_list, const Location& location,
               Diagnostics& diagnostics) {
  if (at.is_list()) {
    if (stage_list) {
      Value* stage = find_stage(at, step);
      if (stage == nullptr) {
        diagnostics.error(location, fmt::format("there is no stage '{}'", step),
                          name_hint(step, stage_names(at), "stages"));
      }
      return stage;
    }
    if (is_list_position(step) && std::stoul(step) < at.as_list().size()) return &at.as_list()[std::stoul(step)];
    diagnostics.error(location, fmt::format("'{}' is no position in a list of {}", step, at.as_list().size()),
                      "positions count from 0");
    return nullptr;
  }
  if (!at.is_table()) {
    diagnostics.error(location, fmt::format("there is no '{}' in {}", step, at.kind_name()));
    return nullptr;
  }
  if (at.find(step) == nullptr) {
    Value empty = Value(Value::Table{});
    empty.location = location;
    at.set(step, std::move(empty), location);
  }
  return at.find(step);
}

}  // namespace

void apply_override(Value& recipe, const std::string& text, Diagnostics& diagnostics) {
  const auto source = std::make_shared<const std::string>("override '" + text + "'");
  const auto place = [&source](std::size_t offset) { return Location{source, 1, static_cast<int>(offset) + 1}; };
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    diagnostics.error(place(0), "an override reads key=value", "for example train.epochs=5");
    return;
  }
  Value value;
  try {
    value = Value::parse(std::string_view(text).substr(equals + 1));
  } catch (const RecipeError&) {
    const std::string given = text.substr(equals + 1);
    diagnostics.error(place(equals + 1), fmt::format("'{}' is no TOML value", given),
                      given.empty() || text.starts_with("seed=")
                          ? ""
                          : fmt::format("a string needs quotes, and a shell takes one pair away: '{}=\"{}\"'",
                                        text.substr(0, equals), given));
    return;
  }
  place_all(value, place(equals + 1));
  Value* at = &recipe;
  bool stage_list = false;
  std::size_t begin = 0;
  Value* parent = nullptr;
  std::string step;
  while (begin <= equals) {
    const std::size_t end = std::min(text.find('.', begin), equals);
    step = text.substr(begin, end - begin);
    if (step.empty()) {
      diagnostics.error(place(begin), "a key is missing here");
      return;
    }
    parent = at;
    const bool existed = !at->is_table() || at->find(step) != nullptr;
    at = descend(*at, step, stage_list, place(begin), diagnostics);
    if (at == nullptr) return;
    if (!existed) parent->as_table().back().key_location = place(begin);
    stage_list = parent == &recipe && step == "stage";
    begin = end + 1;
    if (end == equals) break;
  }
  if (value.is_table() && stage_list && at->is_list()) {
    merge_stages_by_name(*at, value, diagnostics);
  } else if (value.is_table()) {
    merge(*at, value, diagnostics);
  } else {
    *at = std::move(value);
  }
}

}  // namespace kd
