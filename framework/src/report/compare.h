// Runs side by side: the tables they left, as mean and standard deviation over seeds.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/table.h"

namespace kd {

/// A number over the runs of a group. Sample standard deviation; NaN for one run.
struct KD_API Spread {
  double mean = 0;
  double deviation = 0;
};

/// A row of a table: what it is about, such as stage and network, and its numbers.
struct KD_API ComparedRow {
  std::vector<std::string> names;
  std::size_t runs = 0;  ///< that hold the row
  std::vector<Spread> numbers;
};

/// One of the tables that the runs left, such as summary or analysis/calibration.
struct KD_API ComparedTable {
  std::string file;  ///< without its ending
  std::vector<Column> name_columns, number_columns;
  std::vector<ComparedRow> rows;
};

/// Runs of one recipe and the same settings, which differ in their seed alone.
struct KD_API ComparedGroup {
  std::vector<std::filesystem::path> runs;
  std::vector<std::string> seeds;
  std::vector<std::string> differences;  ///< "key = value" where the groups are not alike
  std::vector<ComparedTable> tables;
};

/// A run that is not compared, and why: unfinished, cut short, or there already.
struct KD_API LeftOutRun {
  std::filesystem::path folder;
  std::string reason;
};

struct KD_API Comparison {
  std::vector<ComparedGroup> groups;
  std::vector<LeftOutRun> left_out;
};

/// Throws FileError where no run can be compared.
KD_API Comparison compare_runs(const std::vector<std::filesystem::path>& runs);

KD_API std::string to_markdown(const std::vector<ComparedGroup>& groups);
/// The tables of each group, as LaTeX's booktabs has them.
KD_API std::string to_latex(const std::vector<ComparedGroup>& groups);
/// One line per number: group, file, row, column, runs, mean, deviation.
KD_API std::string to_csv(const std::vector<ComparedGroup>& groups);

}  // namespace kd
