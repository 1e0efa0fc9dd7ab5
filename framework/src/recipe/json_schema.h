// Recipes as a JSON Schema, for editors that complete and check TOML.
#pragma once

#include <string>

#include "kd/api.h"
#include "plugin/registry.h"

namespace kd {

/// A JSON Schema (draft-07) of recipes that use the components of `registry`, made of their declarations. What it
/// refuses, kdrun refuses; kdrun also finds what only the whole recipe shows, such as a teacher that is no stage.
KD_API std::string recipe_json_schema(const Registry& registry);

}  // namespace kd
