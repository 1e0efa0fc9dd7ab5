// remove_runs.h: runs first, then stages, each of these under its lock.
#include "record/remove_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "files/atomic_file.h"
#include "files/file_lock.h"
#include "kd/diagnostics.h"
#include "kd/value.h"
#include "report/recipe_references.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& message, const std::string& hint) {
  throw Error({{{}, message, hint}}, ExitCode::kFailed);
}

bool is_same(const fs::path& a, const fs::path& b) {
  std::error_code error;
  return fs::equivalent(a, b, error);
}

/// The run that `name` says: a path, or where it lies below the folder of all runs.
const ListedRun& find_run(const RunList& list, const std::string& name) {
  fs::path path = fs::path(name).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "runs/ekd/x/"
  if (fs::is_symlink(fs::symlink_status(path)))
    throw RecipeError({}, fmt::format("{} is a link, and none is followed", name), "name the folder that it leads to");
  std::vector<std::string> known;
  std::vector<const ListedRun*> found;
  for (const ListedRun& run : list.runs) {
    const std::string last = run.folder.filename().string();
    known.push_back(fmt::format("{}/{}", run.recipe, last));
    if (is_same(run.folder, path) || path == known.back() || path == last) found.push_back(&run);
  }
  if (found.size() > 1) throw RecipeError({}, fmt::format("there are several runs '{}'", name), "say RECIPE/RUN");
  if (found.size() == 1) return *found.front();
  if (fs::exists(path)) {
    throw RecipeError({}, fmt::format("{} is no run below {}", name, list.folder.string()),
                      "a run is runs/RECIPE/TIME-DIGEST; --run-dir says where the runs are");
  }
  throw RecipeError({}, fmt::format("there is no run '{}' below {}", name, list.folder.string()),
                    nearest_name(name, known).empty() ? "kdrun runs lists them" : name_hint(name, known));
}

void require_ended(const ListedRun& run) {
  if (!run.problem.empty()) {
    fail(fmt::format("{} is not removed: {}", run.folder.string(), run.problem), "look at it, and remove it by hand");
  }
  if (run.status == "running")
    fail(fmt::format("{} is running, as process {}", run.folder.string(), run.process), "stop it first");
  if (run.status == "elsewhere") {
    fail(fmt::format("{} says that it is running, on another machine", run.folder.string()),
         "remove it there, or by hand");
  }
}

/// Stages cannot be told unused where a folder may link to them that cannot be looked into.
void require_readable(const RunList& list) {
  for (const ListedRun& run : list.runs) {
    if (!run.unreadable) continue;
    fail(fmt::format("{}: {}", run.folder.string(), run.problem), "it may link to stages, so none can be removed");
  }
}

/// Why a stage must be kept whatever is asked: who links to it, or may be about to. Empty where nobody does.
std::string needed_by(const fs::path& stage, const std::vector<const ListedRun*>& others) {
  for (const ListedRun* run : others) {
    if (std::find(run->stages.begin(), run->stages.end(), stage) != run->stages.end())
      return run->folder.string() + " links to it";
  }
  for (const ListedRun* run : others) {
    // A stage is linked to once it is finished: until then the recipe alone says that it will be.
    const bool goes_on = run->status == "running" || run->status == "elsewhere";
    if (goes_on && has_stage(run->folder / "resolved.toml", stage_name(stage)))
      return run->folder.string() + " is running and has a stage of this name";
  }
  return "";
}

std::vector<const ListedRun*> runs_but(const RunList& list, const std::vector<ListedRun>& removed) {
  std::vector<const ListedRun*> others;
  for (const ListedRun& run : list.runs) {
    const bool goes =
        std::any_of(removed.begin(), removed.end(), [&](const ListedRun& one) { return one.folder == run.folder; });
    if (!goes) others.push_back(&run);
  }
  return others;
}

void keep(Removal& removal, const fs::path& folder, std::string reason) {
  std::erase(removal.stages, folder);
  removal.kept.push_back({folder, std::move(reason)});
}

/// Keeps the stages of `run` that recipes of `others` name by it, and warns that these will not find it.
void keep_named_stages(Removal& removal, const ListedRun& run, const std::vector<const ListedRun*>& others) {
  for (const ListedRun* other : others) {
    const std::vector<RunReference> references = references_to(run.folder, other->folder / "resolved.toml");
    if (references.empty()) continue;
    removal.warnings.push_back(fmt::format("the recipe of {} names {}, which it would not find when it is run again",
                                           other->folder.string(), run.folder.string()));
    for (const RunReference& reference : references) {
      for (const fs::path& stage : run.stages) {
        const bool named = reference.stage.empty() || reference.stage == stage_name(stage);
        if (!named || std::find(removal.stages.begin(), removal.stages.end(), stage) == removal.stages.end()) continue;
        keep(removal, stage, fmt::format("the recipe of {} names it", other->folder.string()));
      }
    }
  }
}

/// Removes a folder so that one that was cut off leaves a run that can be removed again.
void remove_run(const fs::path& folder) {
  for (const auto& item : fs::directory_iterator(folder)) {
    if (item.path().filename() != "run.json") fs::remove_all(item.path());
  }
  fs::remove_all(folder);
}

/// The lock that whoever trains the stage holds: also of one that is trained anew beside it, or was put aside.
fs::path lock_of(const fs::path& stage) {
  const std::string name = stage.filename().string();
  return stage.parent_path() / (name.substr(0, name.find('.')) + ".lock");
}

/// Returns why the stage was kept, or nothing. The lock file stays: one that another process waits for, on a file that
/// is gone, would keep nobody out.
std::string remove_stage(const RunList& before, const std::vector<ListedRun>& removed, const fs::path& stage) {
  struct Busy {};
  try {
    const FileLock lock(lock_of(stage), [](const std::string&) { throw Busy{}; });
    // Who held the lock before has made its run folder by now, and who comes later waits and finds no stage.
    const RunList now = list_runs(before.folder);
    require_readable(now);
    if (const std::string reason = needed_by(stage, runs_but(now, removed)); !reason.empty()) return reason;
    if (!fs::exists(stage)) return "it is gone";
    const fs::path aside = stage.extension() == ".removed" ? stage : fs::path(stage.string() + ".removed");
    if (aside != stage) {
      fs::remove_all(aside);
      fs::rename(stage, aside);  // at once: half a stage would look damaged
    }
    fs::remove_all(aside);
    return "";
  } catch (const Busy&) {
    return "another process trains it";
  }
}

std::int64_t bytes_of(const Removal& removal) {
  std::int64_t bytes = 0;
  for (const ListedRun& run : removal.runs) bytes += disk_bytes(run.folder);
  for (const fs::path& stage : removal.stages) bytes += disk_bytes(stage);
  return bytes;
}

/// What is lost with a stage that no run links to.
std::string state_of(const fs::path& stage) {
  if (stage.extension() == ".removed" || stage.extension() == ".replaced") return "left by a process that was killed";
  if (fs::exists(stage / "result.json")) return "finished";
  return "unfinished: the run that was stopped would go on from it";
}

}  // namespace

Removal plan_removal(const RunList& list, const std::vector<std::string>& names) {
  require_readable(list);
  Removal removal{.runs_folder = list.folder, .runs = {}, .stages = {}, .kept = {}, .warnings = {}};
  std::set<fs::path> seen;
  for (const std::string& name : names) {
    const ListedRun& run = find_run(list, name);
    require_ended(run);
    if (!seen.insert(run.folder).second) continue;
    removal.runs.push_back(run);
    for (const fs::path& stage : run.stages) {
      const bool there = fs::is_directory(fs::symlink_status(stage));
      if (there && seen.insert(stage).second) removal.stages.push_back(stage);
    }
    for (const fs::path& link : run.links_elsewhere)
      removal.kept.push_back(
          {link.string() + " → " + fs::read_symlink(link).string(), "what it leads to is kept elsewhere"});
  }
  const auto others = runs_but(list, removal.runs);
  for (const ListedRun& run : removal.runs) keep_named_stages(removal, run, others);
  for (const fs::path& stage : std::vector(removal.stages)) {
    if (std::string reason = needed_by(stage, others); !reason.empty()) keep(removal, stage, std::move(reason));
  }
  return removal;
}

Removal plan_unused_stages(const RunList& list) {
  require_readable(list);
  Removal removal{.runs_folder = list.folder, .runs = {}, .stages = unused_stages(list), .kept = {}, .warnings = {}};
  const auto others = runs_but(list, {});
  for (const fs::path& stage : std::vector(removal.stages)) {
    std::string reason = stage_name(stage).empty() ? "its name is no stage's" : needed_by(stage, others);
    if (!reason.empty()) keep(removal, stage, std::move(reason));
  }
  return removal;
}

std::vector<std::string> describe(const Removal& removal) {
  std::vector<std::string> lines;
  for (const ListedRun& run : removal.runs) {
    lines.push_back(
        fmt::format("would remove {} ({}, {})", run.folder.string(), run.status, size_text(disk_bytes(run.folder))));
  }
  for (const fs::path& stage : removal.stages) {
    lines.push_back(fmt::format("would remove {} ({}): {}", stage.string(), size_text(disk_bytes(stage)),
                                removal.runs.empty() ? state_of(stage) : "no other run links to it"));
  }
  for (const Removal::Kept& kept : removal.kept)
    lines.push_back(fmt::format("would keep {}: {}", kept.folder.string(), kept.reason));
  for (const std::string& warning : removal.warnings) lines.push_back("warning: " + warning);
  lines.push_back(removal.runs.empty() && removal.stages.empty()
                      ? "there is nothing to remove"
                      : fmt::format("together {}; --yes removes it", size_text(bytes_of(removal))));
  return lines;
}

void remove(const Removal& removal, const std::function<void(const std::string&)>& say) {
  for (const ListedRun& run : removal.runs) {
    const RunList now = list_runs(removal.runs_folder);
    const auto found =
        std::find_if(now.runs.begin(), now.runs.end(), [&](const ListedRun& one) { return one.folder == run.folder; });
    if (found == now.runs.end()) continue;  // somebody was quicker
    require_ended(*found);
    remove_run(run.folder);
    say("removed " + run.folder.string());
  }
  for (const Removal::Kept& kept : removal.kept) say(fmt::format("kept {}: {}", kept.folder.string(), kept.reason));
  const RunList list{.folder = removal.runs_folder, .runs = {}, .stages = {}};
  for (const fs::path& stage : removal.stages) {
    const std::string reason = remove_stage(list, removal.runs, stage);
    say(reason.empty() ? "removed " + stage.string() : fmt::format("kept {}: {}", stage.string(), reason));
  }
}

}  // namespace kd
