// Finished runs to look at together, those of one recipe and the same settings as seeds of one group.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/table.h"
#include "kd/value.h"

namespace kd {

struct KD_API FinishedRun {
  std::filesystem::path folder;
  std::string recipe;  ///< the recipe's name
  std::string seed;
  Value settings;  ///< resolved.toml without seed, device and analyses
};

/// Runs that differ in their seed alone, in the order in which they were named.
struct KD_API RunGroup {
  std::vector<FinishedRun> runs;
  std::map<std::string, std::string> settings;  ///< "stage.student.scheme.temperature" → "4", where groups differ
};

/// A run that is not looked at, and why: unfinished, cut short, or there already.
struct KD_API LeftOutRun {
  std::filesystem::path folder;
  std::string reason;
};

struct KD_API RunSet {
  std::vector<RunGroup> groups;
  std::vector<std::string> varied;        ///< keys in which groups differ, in the order of the recipes
  std::vector<std::string> short_varied;  ///< their ends, as long as they need to be to differ
  std::vector<LeftOutRun> left_out;
};

/// Sorts run folders, and the finished points of sweep folders, into groups. `filters` are "key=value" with a key or
/// its end: only runs whose settings say so. Throws FileError where none is left, RecipeError where a filter names no
/// setting.
KD_API RunSet read_runs(const std::vector<std::filesystem::path>& folders,
                        const std::vector<std::string>& filters = {});

/// A setting as people write it: 4 for 4.0, and a string without its quotes.
KD_API std::string plain_value(const std::string& toml);

/// Keys that end in `.ending` or are `ending`.
KD_API std::vector<std::string> keys_ending(const std::vector<std::string>& keys, const std::string& ending);

/// Names of a run's tables: "summary", and those of its analyses.
KD_API std::vector<std::string> table_names(const std::filesystem::path& run);
/// A table of a run, or nothing where it has none of the name.
KD_API std::optional<Table> read_table(const std::filesystem::path& run, const std::string& name);

}  // namespace kd
