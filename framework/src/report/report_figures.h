// Figures that a report draws of runs, beside those that their analyses left.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kd/figure.h"
#include "record/records.h"
#include "report/compare.h"
#include "report/run_set.h"

namespace kd {

/// What every run recorded, by group and run.
using SetRecords = std::vector<std::vector<std::vector<Record>>>;
SetRecords read_records(const RunSet& set);

/// A recorded number over epochs, every network a curve, seeds as mean and deviation; nothing where it was not recorded
/// more than once. `records` are those of the set.
std::optional<Figure> curve_figure(const RunSet& set, const SetRecords& records, const std::string& split,
                                   const std::string& name, const std::string& title);

/// Every seed a point beside the mean, for the rows of a comparison of one metric.
std::optional<Figure> seed_figure(const Comparison& comparison);

/// What a metric is over the settings in which the groups differ: a curve over one, heat maps over two or three; for
/// every network that depends on them. Nothing where none is varied, or more than four.
std::vector<Figure> sweep_figures(const RunSet& set, const std::string& metric);

}  // namespace kd
