// Runs side by side: one table of theirs, its numbers as mean, deviation and interval over seeds, and paired
// differences.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/table.h"
#include "report/run_set.h"
#include "report/statistics.h"

namespace kd {

struct KD_API CompareOptions {
  std::string table = "summary";
  std::vector<std::string> metrics = {};  ///< columns of the table; empty: all shares and numbers that people are shown
  std::string stage = {};                 ///< "student" or "pair/net_2"; empty: all
  /// What others are held against, seed by seed: a stage of the same run ("student_alone", "pair/net_2"), or the
  /// settings of a group ("temperature=4"). Empty: nothing.
  std::string baseline = {};
  std::string sort = {};                  ///< a metric or another column, "-top1" downwards; empty: as the runs come
  std::vector<std::string> columns = {};  ///< of settings and names, that are shown; empty: all
};

/// A number of a row over the runs of a group.
struct KD_API ComparedNumber {
  std::vector<double> values;  ///< of each run
  Spread spread;
  std::optional<Spread> difference;  ///< from the baseline, over the seeds that both have
};

struct KD_API ComparedRow {
  std::size_t group = 0;
  std::vector<Cell> names;  ///< settings of the group, then what the row is about
  std::size_t runs = 0;     ///< that hold the row
  std::vector<ComparedNumber> numbers;
  bool is_baseline = false;
};

struct KD_API Comparison {
  std::string table;    ///< its name
  std::string caption;  ///< that the runs gave it
  std::vector<Column> name_columns, metrics;
  std::size_t settings = 0;  ///< of the name columns: those that come first, before what a row is about
  std::vector<ComparedRow> rows;
  std::string baseline;            ///< what differences are from; empty: there are none
  std::vector<std::string> notes;  ///< what a reader should know
};

/// Throws RecipeError where the options name a table, column, stage or baseline that no run has.
KD_API Comparison compare(const RunSet& set, const CompareOptions& options);

/// Shows a row that is the same in every group, such as a teacher that all share, once and without settings.
KD_API void show_repeats_once(Comparison& comparison, std::size_t groups);

/// For people: "77.35 ± 0.42", the interval and what a difference needs where there is one metric.
KD_API Table readable(const Comparison& comparison);
/// For programs: every statistic in a column of its own.
KD_API Table complete(const Comparison& comparison);

}  // namespace kd
