// run_list.h: reads run.json and resolved.toml of each run, and asks the system whether its process is there.
#include "report/run_list.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"
#include "kd/value.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

/// What is in a folder, by name. Throws filesystem_error where it cannot be read.
std::vector<fs::directory_entry> items_of(const fs::path& folder) {
  std::vector<fs::directory_entry> items(fs::directory_iterator(folder), {});
  std::sort(items.begin(), items.end());
  return items;
}

bool is_own_folder(const fs::directory_entry& item) { return fs::is_directory(item.symlink_status()); }

/// Seconds of the time that a run folder's "2026-11-26T09:38:33+0100" names; NaN where it is none.
double seconds_of(const std::string& time) {
  std::tm parts{};
  const char* end = ::strptime(time.c_str(), "%Y-%m-%dT%H:%M:%S%z", &parts);
  if (end == nullptr || *end != '\0') return std::nan("");
  const long offset = parts.tm_gmtoff;  // timegm() sets it to 0
  return static_cast<double>(::timegm(&parts) - offset);
}

/// Whether a process of this machine has a file of the run open, as the one that trains it has its log. A number alone
/// would not do: it goes to other processes once the first has ended.
bool holds_open(std::int64_t process, const fs::path& folder) {
  const std::string inside = fs::canonical(folder).string() + '/';
  std::error_code error;
  fs::directory_iterator files(fmt::format("/proc/{}/fd", process), error);
  if (error) return error == std::errc::permission_denied;  // another user's: it is there, and may well be the one
  for (; !error && files != fs::directory_iterator(); files.increment(error)) {
    std::error_code gone;
    if (fs::read_symlink(files->path(), gone).string().starts_with(inside)) return true;
  }
  return false;
}

std::string own_host() {
  utsname name{};
  ::uname(&name);
  return name.nodename;
}

std::string status_now(const ListedRun& run, const std::string& said, const std::string& host) {
  if (said != "running") return said;
  if (host != own_host()) return "elsewhere";
  return holds_open(run.process, run.folder) ? "running" : "interrupted";
}

/// What --profile was given: "--profile small" or "--profile=small".
std::string profile_of(const std::vector<std::string>& arguments) {
  constexpr std::string_view kOption = "--profile";
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == kOption && i + 1 < arguments.size()) return arguments[i + 1];
    if (arguments[i].starts_with(std::string(kOption) + '=')) return arguments[i].substr(kOption.size() + 1);
  }
  return "";
}

/// The seed of a resolved recipe, which has a setting a line and its own before those of stages.
std::string seed_of(const fs::path& resolved) {
  constexpr std::string_view kBegin = "seed = ";
  std::ifstream stream(resolved);
  for (std::string line; std::getline(stream, line) && !line.starts_with("[");) {
    if (line.starts_with(kBegin)) return line.substr(kBegin.size());
  }
  return "";
}

/// Finds the stages of <runs>/.stages that the links of a run lead to.
void read_links(ListedRun& run, const fs::path& kept) {
  const fs::path links = run.folder / "stages";
  if (!fs::is_directory(fs::symlink_status(links))) return;
  const fs::path real = fs::canonical(kept.parent_path()) / kept.filename();  // that .stages is a link does not count
  for (const auto& item : items_of(links)) {
    if (!item.is_symlink()) continue;
    const fs::path target = fs::weakly_canonical(links / fs::read_symlink(item.path()));
    if (target.parent_path() == real) {
      run.stages.push_back(kept / target.filename());
    } else {
      run.links_elsewhere.push_back(item.path());
    }
  }
}

void read_facts(ListedRun& run) {
  const auto facts = nlohmann::json::parse(read_text(run.folder / "run.json"));
  run.process = facts.at("process");
  run.started = facts.at("started");
  run.profile = profile_of(facts.at("arguments"));
  run.status = status_now(run, facts.at("status"), facts.at("host").at("name"));
  const auto& known = run_statuses();
  if (std::find(known.begin(), known.end(), run.status) == known.end()) throw Error("its status is none");
  const bool goes_on = run.status == "running";
  run.seconds =
      (goes_on ? static_cast<double>(std::time(nullptr)) : seconds_of(facts.at("updated"))) - seconds_of(run.started);
  if (std::isnan(run.seconds)) throw Error("its times are none");
  run.seed = seed_of(run.folder / "resolved.toml");
}

/// What `item` is, a folder where a run is looked for.
ListedRun look_at(const fs::directory_entry& item, const fs::path& kept) {
  ListedRun run;
  run.folder = item.path();
  run.recipe = item.path().parent_path().filename().string();
  if (item.is_symlink()) {
    run.problem = "it is a link, and links are not followed";
    return run;
  }
  try {
    read_links(run, kept);
    if (!fs::exists(run.folder / "run.json")) {
      run.problem = "it holds no run.json";
    } else {
      read_facts(run);
    }
  } catch (const fs::filesystem_error& error) {
    run.unreadable = true;
    run.problem = "it cannot be read: " + error.code().message();
  } catch (const std::exception&) {
    run.problem = "its run.json is damaged";
  }
  return run;
}

/// The folders in a recipe's own, or that one itself where it is a run that somebody put there.
void look_below(const fs::directory_entry& item, const fs::path& kept, std::vector<ListedRun>& runs) {
  const std::string name = item.path().filename().string();
  if (name.starts_with(".") || name.ends_with(".sweep")) return;  // .stages, and what sweeps keep
  if (!item.is_symlink() && !item.is_directory()) return;
  std::error_code error;
  if (item.is_symlink() || fs::exists(item.path() / "run.json", error)) {
    runs.push_back(look_at(item, kept));
    return;
  }
  try {
    for (const auto& inner : items_of(item.path())) {
      if (inner.is_symlink() || inner.is_directory()) runs.push_back(look_at(inner, kept));
    }
  } catch (const fs::filesystem_error& problem) {
    ListedRun run;
    run.folder = item.path();
    run.unreadable = true;
    run.problem = "it cannot be read: " + problem.code().message();
    runs.push_back(std::move(run));
  }
}

std::int64_t stage_bytes(const ListedRun& run) {
  std::int64_t bytes = 0;
  for (const fs::path& stage : run.stages) bytes += disk_bytes(stage);
  return bytes;
}

/// A number as a cell; none where the text is no number.
Cell number_cell(const std::string& text) {
  const bool is_number = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  return is_number ? Cell(std::stod(text)) : Cell();
}

/// "2026-11-26 09:38:33"
std::string shown_time(std::string time) {
  std::replace(time.begin(), time.end(), 'T', ' ');
  return time.substr(0, std::string_view("2026-11-26 09:38:33").size());
}

}  // namespace

const std::vector<std::string>& run_statuses() {
  static const std::vector<std::string> statuses = {"ok", "stopped", "failed", "running", "interrupted", "elsewhere"};
  return statuses;
}

RunList list_runs(const std::filesystem::path& runs) {
  if (!fs::is_directory(runs)) throw FileError({}, "there is no folder " + runs.string(), "--run-dir says where");
  RunList list{.folder = runs, .runs = {}, .stages = {}};
  const fs::path kept = runs / ".stages";
  for (const auto& item : items_of(runs)) look_below(item, kept, list.runs);
  if (!fs::is_directory(fs::symlink_status(kept))) return list;
  for (const auto& item : items_of(kept)) {
    if (is_own_folder(item)) list.stages.push_back(item.path());
  }
  return list;
}

const std::vector<std::string>& run_orders() {
  static const std::vector<std::string> orders = {"recipe",  "run",  "status",  "seed",
                                                  "profile", "when", "seconds", "size"};
  return orders;
}

std::vector<ListedRun> select_runs(const RunList& all, const std::vector<std::string>& statuses,
                                   const std::string& recipe, const std::string& order) {
  std::vector<ListedRun> runs;
  std::vector<std::string> recipes;
  for (const ListedRun& run : all.runs) {
    if (!run.problem.empty()) continue;
    recipes.push_back(run.recipe);
    const bool wanted = statuses.empty() || std::find(statuses.begin(), statuses.end(), run.status) != statuses.end();
    if (wanted && (recipe.empty() || run.recipe == recipe)) runs.push_back(run);
  }
  if (!recipe.empty() && std::find(recipes.begin(), recipes.end(), recipe) == recipes.end()) {
    recipes.erase(std::unique(recipes.begin(), recipes.end()), recipes.end());
    throw RecipeError({}, fmt::format("no run below {} is of a recipe '{}'", all.folder.string(), recipe),
                      name_hint(recipe, recipes, "recipes"));
  }
  const auto number = [](const std::string& seed) { return seed.empty() ? -1 : std::atoll(seed.c_str()); };
  std::map<fs::path, std::int64_t> sizes;
  if (order == "size") {
    for (const ListedRun& run : runs) sizes[run.folder] = disk_bytes(run.folder) + stage_bytes(run);
  }
  std::stable_sort(runs.begin(), runs.end(), [&](const ListedRun& a, const ListedRun& b) {
    if (order == "recipe") return a.recipe < b.recipe;
    if (order == "run") return a.folder.filename() < b.folder.filename();
    if (order == "status") return a.status < b.status;
    if (order == "seed") return number(a.seed) < number(b.seed);
    if (order == "profile") return a.profile < b.profile;
    if (order == "seconds") return a.seconds < b.seconds;
    if (order == "size") return sizes[a.folder] < sizes[b.folder];
    return seconds_of(a.started) < seconds_of(b.started);
  });
  return runs;
}

Table run_table(const std::vector<ListedRun>& runs) {
  using enum ColumnType;
  Table table{.name = "runs",
              .caption = "runs, their time from start to end, and what they take of the disk",
              .columns = {{"recipe", kText},
                          {"run", kText},
                          {"status", kText},
                          {"seed", kCount},
                          {"profile", kText},
                          {"when", kText},
                          {"seconds", kSeconds},
                          {"own", kText},
                          {"stages", kText},
                          {"own_bytes", kCount, "", false},
                          {"stage_bytes", kCount, "", false},
                          {"folder", kText, "", false}},
              .rows = {}};
  for (const ListedRun& run : runs) {
    const std::int64_t own = disk_bytes(run.folder), stages = stage_bytes(run);
    table.rows.push_back({run.recipe, run.folder.filename().string(), run.status, number_cell(run.seed), run.profile,
                          shown_time(run.started), run.seconds, size_text(own), size_text(stages), own, stages,
                          run.folder.string()});
  }
  return table;
}

std::vector<std::filesystem::path> unused_stages(const RunList& list) {
  std::set<fs::path> linked;
  for (const ListedRun& run : list.runs) linked.insert(run.stages.begin(), run.stages.end());
  std::vector<fs::path> unused;
  std::copy_if(list.stages.begin(), list.stages.end(), std::back_inserter(unused),
               [&](const fs::path& stage) { return !linked.contains(stage); });
  return unused;
}

std::string stage_name(const std::filesystem::path& folder) {
  static const std::regex pattern("([A-Za-z0-9_-]+)-[0-9a-f]{16}([.](fresh|replaced|removed))?");
  std::smatch match;
  const std::string name = folder.filename().string();
  return std::regex_match(name, match, pattern) ? match[1].str() : "";
}

std::int64_t disk_bytes(const std::filesystem::path& path) {
  constexpr std::int64_t kBlock = 512;  // the unit of st_blocks, whatever the file system
  const auto blocks = [](const fs::path& file) {
    struct stat facts{};
    return ::lstat(file.c_str(), &facts) == 0 ? std::int64_t{facts.st_blocks} : 0;
  };
  std::int64_t sum = blocks(path);
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(path, error))) return sum * kBlock;
  // A run that goes on makes files and removes them meanwhile: what is gone does not count.
  fs::recursive_directory_iterator item(path, fs::directory_options::skip_permission_denied, error);
  for (; !error && item != fs::recursive_directory_iterator(); item.increment(error)) sum += blocks(item->path());
  return sum * kBlock;
}

std::string size_text(std::int64_t bytes) {
  constexpr std::array kUnits = {"kB", "MB", "GB", "TB"};
  double size = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  while (size >= 999.95 && unit + 1 < kUnits.size()) {
    size /= 1000;
    ++unit;
  }
  return fmt::format("{:.1f} {}", size, kUnits[unit]);
}

}  // namespace kd
