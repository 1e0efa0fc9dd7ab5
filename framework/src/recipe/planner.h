// The two halves of read_recipe(): what a recipe says when everything is laid on it, and the plan that this makes.
#pragma once

#include <string>

#include "recipe/plan.h"

namespace kd {

/// The recipe with what it extends, its profiles and its overrides.
Value read_laid(const std::string& file, const RecipeOptions& options, Diagnostics& diagnostics);

/// Its plan, without names of files; worth nothing where there are problems.
ExperimentPlan plan_recipe(const Value& recipe, const ComponentCatalog& catalog, Diagnostics& diagnostics);

/// What is wrong in the profiles of a recipe that `options` does not lay on it, and only there.
void check_other_profiles(const std::string& file, const RecipeOptions& options, const ComponentCatalog& catalog,
                          Diagnostics& diagnostics);

/// Names the plan after its file.
void name_plan(ExperimentPlan& plan, const std::string& file);

}  // namespace kd
