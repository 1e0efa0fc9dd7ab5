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

/// Lays `over` on `base`. Tables merge key by key, everything else replaces. A table whose `type` differs replaces,
/// because the parameters of one type mean nothing to another. A `stage` table laid on a list of stages addresses them
/// by name.
void merge(Value& base, const Value& over, Diagnostics& diagnostics);

/// Reads a recipe file and everything it extends, the file itself laid on top.
Value read_with_bases(const std::string& file);

/// Applies "a.b.c=value"; a step of the path is a key, the name of a stage, or the position in a list.
void apply_override(Value& recipe, const std::string& text, Diagnostics& diagnostics);

}  // namespace kd
