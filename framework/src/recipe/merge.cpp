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

bool changes_items(const Value& table) {
  return table.is_table() && !table.as_table().empty() &&
         std::all_of(table.as_table().begin(), table.as_table().end(),
                     [](const Member& member) { return member.value.is_table(); });
}

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
    } else if (old->is_list() && changes_items(member.value)) {
      for (const Member& change : member.value.as_table()) {
        Value* item = find_item(*old, change.key, change.key_location, diagnostics);
        if (item != nullptr) merge(*item, change.value, diagnostics);
      }
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

/// The value under one step of a path, made if it is a new key of a table; null where there can be none.
Value* descend(Value& at, const std::string& step, bool stage_list, const Location& location,
               Diagnostics& diagnostics) {
  if (at.is_list()) {
    if (!stage_list) return find_item(at, step, location, diagnostics);
    Value* stage = find_stage(at, step);
    if (stage == nullptr) {
      diagnostics.error(location, fmt::format("there is no stage '{}'", step),
                        name_hint(step, stage_names(at), "stages"));
    }
    return stage;
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

/// What an item of a list is called.
std::vector<std::string> names_of(const Value& item) {
  std::vector<std::string> names;
  for (const char* key : {"name", "type"}) {
    const Value* name = item.find(key);
    if (name != nullptr && name->is_string()) names.push_back(name->as_string());
  }
  return names;
}

}  // namespace

Value* find_item(Value& list, const std::string& step, const Location& location, Diagnostics& diagnostics,
                 const std::string& noun) {
  Value::List& items = list.as_list();
  if (is_list_position(step)) {
    if (std::stoul(step) < items.size()) return &items[std::stoul(step)];
    diagnostics.error(location, fmt::format("'{}' is no position in {} of {}", step, noun, items.size()),
                      "positions count from 0");
    return nullptr;
  }
  std::vector<std::string> known;
  std::vector<Value*> found;
  for (Value& item : items) {
    const std::vector<std::string> names = names_of(item);
    known.insert(known.end(), names.begin(), names.end());
    if (std::find(names.begin(), names.end(), step) != names.end()) found.push_back(&item);
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    diagnostics.error(location, fmt::format("there is no '{}' in {} of {}", step, noun, items.size()),
                      known.empty() ? "positions count from 0" : name_hint(step, known, "it holds"));
  } else {
    diagnostics.error(location, fmt::format("there are {} '{}' in {} of {}", found.size(), step, noun, items.size()),
                      "say which by its position, counted from 0");
  }
  return nullptr;
}

Setting parse_override(const std::string& text, Diagnostics& diagnostics) {
  const auto source = std::make_shared<const std::string>("override '" + text + "'");
  const auto place = [&source](std::size_t offset) { return Location{source, 1, static_cast<int>(offset) + 1}; };
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    diagnostics.error(place(0), "an override reads key=value", "for example train.epochs=5");
    return {};
  }
  Setting setting{.path = text.substr(0, equals), .value = {}, .location = place(0), .counts_columns = true};
  try {
    setting.value = Value::parse(std::string_view(text).substr(equals + 1));
  } catch (const RecipeError&) {
    const std::string given = text.substr(equals + 1);
    diagnostics.error(
        place(equals + 1), fmt::format("'{}' is no TOML value", given),
        given.empty() || setting.path == "seed"
            ? ""
            : fmt::format("a string needs quotes, and a shell takes one pair away: '{}=\"{}\"'", setting.path, given));
    return {};
  }
  place_all(setting.value, place(equals + 1));
  return setting;
}

void apply_setting(Value& recipe, const Setting& setting, Diagnostics& diagnostics) {
  Value* at = &recipe;
  bool stage_list = false;
  for (std::size_t begin = 0; begin <= setting.path.size();) {
    const std::size_t end = std::min(setting.path.find('.', begin), setting.path.size());
    const std::string step = setting.path.substr(begin, end - begin);
    Location place = setting.location;
    if (setting.counts_columns) place.column += static_cast<int>(begin);
    if (step.empty()) {
      diagnostics.error(place, "a key is missing here");
      return;
    }
    Value* parent = at;
    const bool existed = !at->is_table() || at->find(step) != nullptr;
    at = descend(*at, step, stage_list, place, diagnostics);
    if (at == nullptr) return;
    if (!existed) parent->as_table().back().key_location = place;
    stage_list = parent == &recipe && step == "stage";
    begin = end + 1;
  }
  if (setting.value.is_table() && stage_list && at->is_list()) {
    merge_stages_by_name(*at, setting.value, diagnostics);
  } else if (setting.value.is_table()) {
    merge(*at, setting.value, diagnostics);
  } else {
    *at = setting.value;
  }
}

void apply_override(Value& recipe, const std::string& text, Diagnostics& diagnostics) {
  const Setting setting = parse_override(text, diagnostics);
  if (!setting.path.empty()) apply_setting(recipe, setting, diagnostics);
}

}  // namespace kd
