// The runs below a folder: what each is, how it ended, and which stages it links to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/table.h"

namespace kd {

/// A folder where a run is looked for.
struct KD_API ListedRun {
  std::filesystem::path folder;
  std::string recipe;       ///< the folder that it lies in
  std::string problem;      ///< why this is no run, or none that can be read; what follows is then empty
  bool unreadable = false;  ///< so that it may link to stages that are not known
  /// ok, stopped, failed, running; interrupted: it says running, and its process is gone; elsewhere: it says running on
  /// another machine, which cannot be asked from here.
  std::string status;
  std::int64_t process = 0;
  std::string seed, profile;
  std::string started;  ///< as run.json has it
  double seconds = 0;   ///< from its start to the last word of it
  /// The stages in <runs>/.stages that it links to, whatever `problem` says.
  std::vector<std::filesystem::path> stages;
  std::vector<std::filesystem::path> links_elsewhere;  ///< its links that lead out of there
};

struct KD_API RunList {
  std::filesystem::path folder;
  std::vector<ListedRun> runs;                ///< by recipe and name, so the older of a recipe first
  std::vector<std::filesystem::path> stages;  ///< the folders in .stages, linked to or not
};

/// What a run's status may be.
KD_API const std::vector<std::string>& run_statuses();

/// Looks at everything below `runs` and follows no link. Throws FileError where there is no such folder.
KD_API RunList list_runs(const std::filesystem::path& runs);

/// Those of `all` whose status is one of `statuses` and whose recipe is `recipe`, each where it is given, in the order
/// of a column of run_table(), or of the space they take: "size". Those with a problem are left out. Throws RecipeError
/// where no run has such a recipe.
KD_API std::vector<ListedRun> select_runs(const RunList& all, const std::vector<std::string>& statuses,
                                          const std::string& recipe, const std::string& order);

/// What `order` of select_runs() may be.
KD_API const std::vector<std::string>& run_orders();

KD_API Table run_table(const std::vector<ListedRun>& runs);

/// The stages that no folder of `list` links to.
KD_API std::vector<std::filesystem::path> unused_stages(const RunList& list);

/// The name of a stage that is kept in `folder`: "teacher" of teacher-0123456789abcdef, and of that which is trained
/// anew beside it or was put aside. Empty for other folders.
KD_API std::string stage_name(const std::filesystem::path& folder);

/// Bytes of the disk that a file, or a folder with everything in it, takes. Links count as themselves.
KD_API std::int64_t disk_bytes(const std::filesystem::path& path);

/// "34.5 MB"
KD_API std::string size_text(std::int64_t bytes);

}  // namespace kd
