// [sweep] of a recipe and its options on the command line, as the settings that they vary.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "kd/diagnostics.h"
#include "kd/value.h"
#include "recipe/merge.h"
#include "recipe/sweep.h"

namespace kd {

/// Choices of which a point takes one: the values of one key of a grid, the rows of `zip`, the tables of `list`.
using Variation = std::vector<std::vector<Setting>>;

struct SweepTable {
  std::vector<Variation> variations;
  std::set<std::string> complemented;  ///< paths of weights whose list's other loss takes the rest to 1
  std::vector<std::int64_t> seeds;
};

/// Reports what is wrong with the shape of [sweep]; whether its paths and values fit the recipe shows when they are
/// laid on it.
SweepTable read_sweep_table(const Value& recipe, Diagnostics& diagnostics);

/// Adds --grid, --zip and --list. A key that [sweep] varies already is reported.
void add_command_line(const SweepOptions& options, SweepTable& table, Diagnostics& diagnostics);

/// The weights that make up the rest to 1 for those in `settings` that are complemented.
std::vector<Setting> complements(const Value& recipe, const std::vector<Setting>& settings,
                                 const std::set<std::string>& complemented, Diagnostics& diagnostics);

}  // namespace kd
