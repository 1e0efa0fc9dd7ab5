// One number of a run by its name, for scripts and searches: "student/validation/top1".
#pragma once

#include <filesystem>
#include <string>

#include "engine/experiment.h"
#include "kd/api.h"

namespace kd {

struct KD_API MetricName {
  std::string stage, network, split, name;
};

/// Reads STAGE[/NETWORK]/SPLIT/NAME. Throws RecipeError where the plan will give no such number.
KD_API MetricName find_metric(const std::string& text, const ExperimentPlan& plan,
                              const std::filesystem::path& data_root);

/// Of the test split what the closing table has; of another split what was recorded at the epoch that the table
/// reports: the one of the highest validation accuracy, or the last without a validation split. Throws Error where it
/// was not recorded.
KD_API double read_metric(const MetricName& metric, const RunResult& result);

}  // namespace kd
