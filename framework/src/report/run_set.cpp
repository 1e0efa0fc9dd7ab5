// run_set.h
#include "report/run_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "files/atomic_file.h"
#include "files/json_text.h"
#include "kd/diagnostics.h"
#include "recipe/paths.h"
#include "recipe/toml_reader.h"
#include "report/table_views.h"

namespace kd {
namespace {

using Leaves = std::vector<std::pair<std::string, std::string>>;

/// The leaves of a recipe in order. Items of a list are called by their name or place.
void flatten(const Value& value, const std::string& path, Leaves& leaves) {
  const auto below = [&path](const std::string& key) { return path.empty() ? key : path + "." + key; };
  if (value.is_table()) {
    for (const Member& member : value.as_table()) flatten(member.value, below(member.key), leaves);
  } else if (value.is_list() && !value.as_list().empty() && value.as_list().front().is_table()) {
    for (std::size_t i = 0; i < value.as_list().size(); ++i) {
      const Value* name = value.as_list()[i].find("name");
      flatten(value.as_list()[i], below(name != nullptr && name->is_string() ? name->as_string() : std::to_string(i)),
              leaves);
    }
  } else {
    leaves.emplace_back(path, value.to_toml());
  }
}

std::map<std::string, std::string> leaves_of(const Value& settings) {
  Leaves leaves;
  flatten(settings, "", leaves);
  return {leaves.begin(), leaves.end()};
}

/// Why a run must not be averaged with others; empty where nothing speaks against it.
std::string why_not(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder)) return "there is no such folder";
  if (!std::filesystem::exists(folder / "run.json")) {
    const bool holds_runs =
        std::any_of(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator(),
                    [](const auto& item) { return std::filesystem::exists(item.path() / "run.json"); });
    return "it is no run folder: it holds no run.json" +
           (holds_runs ? fmt::format("; the runs in it are {}/*", folder.string()) : std::string());
  }
  const auto facts = nlohmann::json::parse(read_text(folder / "run.json"), nullptr, /*allow_exceptions=*/false);
  if (!facts.is_object()) return "its run.json is damaged";
  if (const std::string status = text_member(facts, "status"); status != "ok") return "its status is '" + status + "'";
  if (const auto whole = facts.find("whole"); whole != facts.end() && *whole == false)
    return fmt::format("each of its stages was ended after {:.0f} steps (--max-steps)",
                       number_member(facts, "max_steps"));
  for (const char* file : {"summary.json", "resolved.toml"}) {
    if (!std::filesystem::exists(folder / file)) return std::string("it holds no ") + file;
  }
  return "";
}

FinishedRun read_run(const std::filesystem::path& folder) {
  Value settings = read_toml_file((folder / "resolved.toml").string());
  const auto facts = nlohmann::json::parse(read_text(folder / "run.json"));
  const Value* seed = settings.find("seed");
  FinishedRun run{folder, std::filesystem::path(text_member(facts, "recipe")).stem().string(),
                  seed == nullptr ? "" : seed->to_toml(), std::move(settings)};
  // An analysis looks at networks and changes none.
  for (const char* key : {"seed", "device", "analysis"}) run.settings.erase(key);
  return run;
}

/// The runs of finished points where `folder` is a sweep's, the others being left out; else the folder itself.
std::vector<std::filesystem::path> runs_of(const std::filesystem::path& folder, std::vector<LeftOutRun>& left_out) {
  if (!std::filesystem::exists(folder / "sweep.json")) return {folder};
  const auto sweep = nlohmann::json::parse(read_text(folder / "sweep.json"), nullptr, /*allow_exceptions=*/false);
  if (!sweep.is_object()) throw FileError((folder / "sweep.json").string() + " is damaged");
  std::vector<std::filesystem::path> runs;
  std::size_t place = 0;
  for (const auto& point : list_member(sweep, "points")) {
    const std::string status = text_member(point, "status"), reason = text_member(point, "reason");
    if (status == "done") {
      runs.emplace_back(text_member(point, "run"));
    } else {
      left_out.push_back({folder / fmt::format("point {}", place),
                          fmt::format("it is {}{}", status, reason.empty() ? "" : ": " + reason)});
    }
    ++place;
  }
  return runs;
}

struct Filter {
  std::string key, value;
};

std::vector<Filter> read_filters(const std::vector<std::string>& texts) {
  std::vector<Filter> filters;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      throw RecipeError({}, fmt::format("--filter '{}': key=value is wanted", text), "for example temperature=4");
    filters.push_back({text.substr(0, equals), text.substr(equals + 1)});
  }
  return filters;
}

/// What the runs say under a key or its end: those settings that differ between them where there are such.
std::vector<std::string> meant_keys(const Filter& filter, const std::vector<std::map<std::string, std::string>>& runs) {
  std::map<std::string, std::set<std::string>> values;
  for (const auto& settings : runs) {
    for (const auto& [key, value] : settings) values[key].insert(value);
  }
  std::vector<std::string> keys;
  for (const auto& [key, all] : values) keys.push_back(key);
  const std::vector<std::string> found = keys_ending(keys, filter.key);
  if (found.empty()) {
    std::vector<std::string> ends;
    for (const std::string& key : keys) ends.push_back(key.substr(key.rfind('.') + 1));
    const std::string nearest = nearest_name(filter.key, ends);
    throw RecipeError({}, fmt::format("--filter: no run has a setting '{}'", filter.key),
                      nearest.empty() ? "" : "did you mean '" + nearest + "'?");
  }
  std::vector<std::string> differing;
  std::copy_if(found.begin(), found.end(), std::back_inserter(differing),
               [&](const std::string& key) { return values[key].size() > 1; });
  return differing.empty() ? found : differing;
}

void keep_passing(std::vector<FinishedRun>& runs, const std::vector<Filter>& filters) {
  std::vector<std::map<std::string, std::string>> settings;
  for (const FinishedRun& run : runs) {
    settings.push_back(leaves_of(run.settings));
    settings.back()["seed"] = run.seed;
    settings.back()["recipe"] = run.recipe;
  }
  std::vector<bool> passes(runs.size(), true);
  for (const Filter& filter : filters) {
    const std::vector<std::string> keys = meant_keys(filter, settings);
    for (std::size_t i = 0; i < runs.size(); ++i) {
      passes[i] = passes[i] && std::any_of(keys.begin(), keys.end(), [&](const std::string& key) {
                    const auto found = settings[i].find(key);
                    return found != settings[i].end() && plain_value(found->second) == plain_value(filter.value);
                  });
    }
  }
  std::vector<FinishedRun> kept;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (passes[i]) kept.push_back(std::move(runs[i]));
  }
  runs = std::move(kept);
}

/// Names what the groups differ in: the recipe, and of one recipe the settings.
void find_varied(RunSet& set) {
  const auto recipe_of = [&](std::size_t group) { return set.groups[group].runs.front().recipe; };
  const bool several = std::any_of(set.groups.begin(), set.groups.end(),
                                   [&](const RunGroup& group) { return group.runs.front().recipe != recipe_of(0); });
  if (several) set.varied.emplace_back("recipe");
  for (std::size_t i = 0; i < set.groups.size() && several; ++i) set.groups[i].settings["recipe"] = recipe_of(i);
  std::vector<Leaves> leaves(set.groups.size());
  std::vector<std::map<std::string, std::string>> known(set.groups.size());
  for (std::size_t i = 0; i < set.groups.size(); ++i) {
    flatten(set.groups[i].runs.front().settings, "", leaves[i]);
    known[i] = {leaves[i].begin(), leaves[i].end()};
  }
  std::set<std::string> seen;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    for (const auto& [key, value] : leaves[i]) {
      bool alike = true;
      for (std::size_t j = 0; j < known.size() && alike; ++j) {
        const auto found = known[j].find(key);
        alike = recipe_of(j) != recipe_of(i) || (found != known[j].end() && found->second == value);
      }
      if (alike) continue;
      set.groups[i].settings[key] = value;
      if (seen.insert(key).second) set.varied.push_back(key);
    }
  }
  set.short_varied = shortened(set.varied);
}

}  // namespace

std::string plain_value(const std::string& toml) {
  const bool quoted = toml.size() >= 2 && toml.front() == '"' && toml.find('"', 1) == toml.size() - 1;
  if (quoted) return toml.substr(1, toml.size() - 2);
  char* end = nullptr;
  const double number = std::strtod(toml.c_str(), &end);
  return !toml.empty() && *end == '\0' ? fmt::format("{}", number) : toml;
}

std::vector<std::string> keys_ending(const std::vector<std::string>& keys, const std::string& ending) {
  std::vector<std::string> found;
  for (const std::string& key : keys) {
    if (key == ending || key.ends_with("." + ending)) found.push_back(key);
  }
  return found;
}

RunSet read_runs(const std::vector<std::filesystem::path>& folders, const std::vector<std::string>& filters) {
  RunSet set;
  std::vector<FinishedRun> runs;
  std::set<std::filesystem::path> seen;
  for (const std::filesystem::path& named : folders) {
    for (const std::filesystem::path& folder : runs_of(named, set.left_out)) {
      std::string reason = why_not(folder);
      if (reason.empty() && !seen.insert(std::filesystem::canonical(folder)).second) reason = "it was named before";
      try {
        if (reason.empty()) {
          read_table(folder, "summary");
          runs.push_back(read_run(folder));
        }
      } catch (const Error& error) {
        reason = error.what();
      }
      if (!reason.empty()) set.left_out.push_back({folder, reason});
    }
  }
  const std::vector<Filter> wanted = read_filters(filters);
  if (!runs.empty()) keep_passing(runs, wanted);
  for (FinishedRun& run : runs) {
    auto group = std::find_if(set.groups.begin(), set.groups.end(),
                              [&](const RunGroup& one) { return one.runs.front().settings == run.settings; });
    if (group == set.groups.end()) group = set.groups.insert(set.groups.end(), RunGroup{});
    const auto same = std::find_if(group->runs.begin(), group->runs.end(),
                                   [&](const FinishedRun& other) { return other.seed == run.seed; });
    if (same != group->runs.end()) {
      set.left_out.push_back({run.folder, fmt::format("it repeats seed {} of {}", run.seed, same->folder.string())});
    } else {
      group->runs.push_back(std::move(run));
    }
  }
  if (set.groups.empty()) {
    std::string reasons;
    for (const LeftOutRun& run : set.left_out) reasons += fmt::format("\n    {}: {}", run.folder.string(), run.reason);
    throw FileError("there is no run to look at" +
                    (reasons.empty() ? std::string(wanted.empty() ? "" : ": none passes the filter") : ":" + reasons));
  }
  find_varied(set);
  return set;
}

std::vector<std::string> table_names(const std::filesystem::path& run) {
  std::set<std::string> analyses;
  if (std::filesystem::is_directory(run / "analysis")) {
    for (const auto& item : std::filesystem::directory_iterator(run / "analysis")) {
      const std::string name = item.path().filename().string();
      if (name.ends_with(".json") && !name.ends_with(".figure.json")) analyses.insert(item.path().stem().string());
    }
  }
  std::vector<std::string> names = {"summary"};
  names.insert(names.end(), analyses.begin(), analyses.end());
  return names;
}

std::optional<Table> read_table(const std::filesystem::path& run, const std::string& name) {
  const std::filesystem::path file = name == "summary" ? run / "summary.json" : run / "analysis" / (name + ".json");
  if (!std::filesystem::exists(file)) return std::nullopt;
  return table_from_json(read_text(file), file);
}

}  // namespace kd
