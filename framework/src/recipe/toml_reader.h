// TOML text to a located Value tree. Nothing else in kdrun sees toml++.
#pragma once

#include <string>
#include <string_view>

#include "kd/value.h"

namespace kd {

/// Reads a TOML document. `source` names it in locations. Throws RecipeError where it is not TOML.
Value read_toml(std::string_view text, const std::string& source);

/// Reads a TOML file, named as given. Throws RecipeError where it cannot be read.
Value read_toml_file(const std::string& file);

}  // namespace kd
