// One stage of a recipe: from its plan to trained networks in its folder.
#pragma once

#include "engine/run_context.h"
#include "kd/diagnostics.h"

namespace kd {

/// Trains a stage, goes on with one that was cut off, or takes one that is there. Throws kd::Error; with
/// ExitCode::kResumable where a signal stopped it after a checkpoint.
KD_API StageResult run_stage(const StagePlan& plan, RunContext& context);

/// Makes everything of a stage (data, networks, losses, features) and takes a step of two images with it. Problems go
/// to `diagnostics`.
KD_API void check_stage(const StagePlan& plan, const RunContext& context, Diagnostics& diagnostics);

}  // namespace kd
