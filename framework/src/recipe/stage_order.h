// Which stages of a recipe need which.
#pragma once

#include <string>
#include <vector>

#include "kd/api.h"
#include "recipe/plan.h"

namespace kd {

/// The earlier stages of its recipe that a stage takes a teacher or first weights from, each once.
KD_API std::vector<std::string> needs_of(const StagePlan& stage);

/// The plan with these stages alone and those that they need, in order, and without analyses, which want them all.
/// Throws RecipeError where there is no stage of a name.
KD_API ExperimentPlan only_stages(ExperimentPlan plan, const std::vector<std::string>& names);

}  // namespace kd
