// How recipes are put together: inheritance, profiles and overrides.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kd/diagnostics.h"
#include "kd/value.h"

namespace kd {

/// Whether `step` of a path reads as a position in a list.
bool is_list_position(std::string_view step);

/// Whether a table that stands for a list changes items of it: each of its values is a table.
bool changes_items(const Value& table);

/// Lays `over` on `base`. Tables merge key by key, everything else replaces. A table whose `type` differs replaces,
/// because the parameters of one type mean nothing to another. A `stage` table laid on a list of stages addresses them
/// by name, and a table of tables laid on another list addresses its items as find_item() does.
void merge(Value& base, const Value& over, Diagnostics& diagnostics);

/// Reads a recipe file and everything it extends, the file itself laid on top.
Value read_with_bases(const std::string& file);

/// The item of a list that a step of a path means: by its position, or by a `type` or `name` that it alone has. Reports
/// what is wrong and gives null where there is none. `noun` is what messages call the list.
Value* find_item(Value& list, const std::string& step, const Location& location, Diagnostics& diagnostics,
                 const std::string& noun = "a list");

/// A value for one place of a recipe, "stage.student.scheme.losses.kd.weight".
struct Setting {
  std::string path;  ///< a step is a key, the name of a stage, or what find_item() takes
  Value value;
  Location location;            ///< of the path
  bool counts_columns = false;  ///< whether a step of the path stands as far behind `location` as its text says
};

/// Reads "a.b.c=value". Reports what is wrong and gives a setting without a path then.
Setting parse_override(const std::string& text, Diagnostics& diagnostics);
/// Lays a setting on a recipe: a table is merged, anything else replaces.
void apply_setting(Value& recipe, const Setting& setting, Diagnostics& diagnostics);
/// Both.
void apply_override(Value& recipe, const std::string& text, Diagnostics& diagnostics);

}  // namespace kd
