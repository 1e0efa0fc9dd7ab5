// What can be known of a stage before it is trained: its schedules over time, and one step of two images.
#pragma once

#include "engine/run_context.h"
#include "engine/stage_parts.h"
#include "kd/diagnostics.h"

namespace kd {

/// Reports each number of the stage that its schedule takes out of its range, in the first epoch that it does.
void check_schedules(const StagePlan& plan, const RunContext& context, Diagnostics& diagnostics);

/// Warns of settings that are allowed and seldom meant: choices made by the test split, more threads than processors,
/// milestones after the last epoch.
void warn_of_settings(const StagePlan& plan, const RunContext& context);

/// Takes a forward and a backward step of two images through the stage, whose parts are prepared for a trial, at every
/// time at which other numbers of its schedules are zero, and changes no weight. Throws where something does not fit: a
/// feature, a width, an augmentation, a loss that is no scalar, no loss at all.
void try_steps(const StagePlan& plan, StageParts& parts);

/// Seconds of a step on a whole batch, without the optimizer's part: the shortest of three. The stage's parts are
/// prepared for a trial.
double time_step(const StagePlan& plan, StageParts& parts);

}  // namespace kd
