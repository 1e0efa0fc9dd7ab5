// The results of a run as a table, and what they say of its students.
#pragma once

#include <string>
#include <vector>

#include "engine/run_context.h"
#include "kd/table.h"

namespace kd {

/// A row for each network of each stage.
KD_API Table summary_table(const std::vector<StageResult>& stages);

/// The stage that trains the same network as network `network` of stage `stage` on labels alone, or empty: what it
/// gains over that is the question that most recipes ask. Stages are places in the plan; `results` holds those
/// finished.
KD_API std::string control_of(std::size_t stage, std::size_t network, const std::vector<StageResult>& results,
                              const ExperimentPlan& plan);

/// The table that closes a run, as people read it, and below it what each distilled student gains over the same network
/// that was trained on labels alone: the question that most recipes ask.
KD_API std::string result_text(const std::vector<StageResult>& stages, const ExperimentPlan& plan);

}  // namespace kd
