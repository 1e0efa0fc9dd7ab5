// Removes runs and the stages that nothing needs any more, and says beforehand what that would be.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "kd/api.h"
#include "report/run_list.h"

namespace kd {

/// What would go, and what would not though it was asked for.
struct KD_API Removal {
  struct Kept {
    std::filesystem::path folder;
    std::string reason;
  };

  std::filesystem::path runs_folder;
  std::vector<ListedRun> runs;
  std::vector<std::filesystem::path> stages;
  std::vector<Kept> kept;
  std::vector<std::string> warnings;  ///< recipes of other runs that name one of these
};

/// The runs that `names` say, each a path, RECIPE/RUN or RUN, with the stages that no other run links to and no recipe
/// of another run names. Throws RecipeError where a name is no run, and Error where one is running.
KD_API Removal plan_removal(const RunList& list, const std::vector<std::string>& names);

/// The stages that no run links to, but for those that a running run may be about to.
KD_API Removal plan_unused_stages(const RunList& list);

/// Lines "would remove …", "would keep …", and how much of the disk that is.
KD_API std::vector<std::string> describe(const Removal& removal);

/// Removes what `removal` says and calls `say` with a line for each. Before each step it looks again: a run that is
/// running by now ends it with an Error, a stage that is linked to or trained by now is kept. No link is followed.
KD_API void remove(const Removal& removal, const std::function<void(const std::string&)>& say);

}  // namespace kd
