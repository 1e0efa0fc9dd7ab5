// sweep_folder.h
#include "sweep/sweep_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <utility>

#include "files/atomic_file.h"
#include "files/digest.h"
#include "files/json_text.h"
#include "kd/diagnostics.h"
#include "report/table_views.h"
#include "sweep/child_process.h"

namespace kd {
namespace {

constexpr std::array<std::pair<PointStatus, const char*>, 5> kNames{{{PointStatus::kWaiting, "waiting"},
                                                                     {PointStatus::kRunning, "running"},
                                                                     {PointStatus::kDone, "done"},
                                                                     {PointStatus::kFailed, "failed"},
                                                                     {PointStatus::kStopped, "stopped"}}};

std::string fingerprint_of(const SweepPlan& plan, const std::string& options) {
  Digest digest;
  digest.add(options);
  for (const SweepPoint& point : plan.points) digest.add(write_recipe(point.plan.resolved)).add("\n");
  return digest.hex();
}

/// Empty where there is none, or a damaged one.
Table read_summary(const std::filesystem::path& run) {
  const std::filesystem::path file = run / "summary.json";
  try {
    return table_from_json(read_text(file), file);
  } catch (const FileError&) {
    return {};
  }
}

bool is_finished_run(const std::filesystem::path& run) {
  if (!std::filesystem::exists(run / "run.json") || !std::filesystem::exists(run / "summary.json")) return false;
  const auto facts = nlohmann::json::parse(read_text(run / "run.json"), nullptr, /*allow_exceptions=*/false);
  return text_member(facts, "status") == "ok" && !read_summary(run).rows.empty();
}

std::size_t column_of(const Table& table, const std::string& name) {
  const auto found = std::find_if(table.columns.begin(), table.columns.end(),
                                  [&](const Column& column) { return column.name == name; });
  return static_cast<std::size_t>(found - table.columns.begin());
}

/// Calls `visit(name, column, number)` for every number of a summary that says how good a network is.
template <class Visit>
void visit_metrics(const Table& summary, const Visit& visit) {
  const std::size_t stage = column_of(summary, "stage"), network = column_of(summary, "network");
  if (network >= summary.columns.size()) return;
  for (const Row& row : summary.rows) {
    const auto same_stage = std::count_if(summary.rows.begin(), summary.rows.end(),
                                          [&](const Row& other) { return other[stage] == row[stage]; });
    const std::string owner = row[stage].text() + (same_stage > 1 ? "/" + row[network].text() : std::string());
    for (std::size_t c = 0; c < summary.columns.size(); ++c) {
      const ColumnType type = summary.columns[c].type;
      if (type != ColumnType::kShare && type != ColumnType::kNumber) continue;
      visit(owner + "/test/" + summary.columns[c].name, summary.columns[c], row[c].number());
    }
  }
}

}  // namespace

std::string name_of(PointStatus status) {
  return std::find_if(kNames.begin(), kNames.end(), [&](const auto& one) { return one.first == status; })->second;
}

std::vector<std::string> metric_names(const Table& summary) {
  std::vector<std::string> names;
  visit_metrics(summary, [&](const std::string& name, const Column&, double) { names.push_back(name); });
  return names;
}

std::vector<double> metric_values(const Table& summary) {
  std::vector<double> values;
  visit_metrics(summary, [&](const std::string&, const Column&, double value) { values.push_back(value); });
  return values;
}

SweepFolder::SweepFolder(const std::filesystem::path& runs, const SweepPlan& plan, const std::string& options)
    : plan_(plan),
      path_(runs / (plan.recipe_name + ".sweep") / fingerprint_of(plan, options).substr(0, 8)),
      states_(plan.points.size()) {
  require_writable(runs);
  std::filesystem::create_directories(path_ / "logs");
  lock_ = std::make_unique<FileLock>(path_ / "lock", [&](const std::string& holder) {
    throw Error(fmt::format("another process runs this sweep, in {}{}", path_.string(),
                            holder.empty() ? "" : fmt::format(" ({})", holder)));
  });
  read_states();
}

std::filesystem::path SweepFolder::log_file(std::size_t point) const {
  return path_ / "logs" / fmt::format("{}.txt", point);
}

std::filesystem::path SweepFolder::events_file(std::size_t point) const {
  return path_ / "logs" / fmt::format("{}.jsonl", point);
}

void SweepFolder::read_events() {
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (states_[i].status == PointStatus::kDone || !std::filesystem::exists(events_file(i))) continue;
    PointState state{.status = PointStatus::kRunning, .reason = {}, .run = {}, .seconds = 0};
    std::optional<int> code;
    std::istringstream lines(read_text(events_file(i)));
    for (std::string line; std::getline(lines, line);) {
      const auto event = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      const std::string kind = text_member(event, "event");
      if (kind == "run") state.run = text_member(event, "folder");
      if (kind == "stage") state.seconds += number_member(event, "seconds");
      if (kind == "end") code = static_cast<int>(number_member(event, "code"));
    }
    if (code == static_cast<int>(ExitCode::kOk) && is_finished_run(state.run)) {
      state.status = PointStatus::kDone;
    } else if (code == static_cast<int>(ExitCode::kResumable)) {
      state.status = PointStatus::kStopped;
    } else if (code) {
      state.status = PointStatus::kFailed;
      state.reason = reason_of(*code, log_file(i), 0);
    }
    states_[i] = std::move(state);
  }
}

void SweepFolder::forget() {
  for (std::size_t i = 0; i < states_.size(); ++i) std::filesystem::remove(events_file(i));
  states_.assign(states_.size(), {});
}

void SweepFolder::read_states() {
  const std::filesystem::path file = path_ / "sweep.json";
  if (!std::filesystem::exists(file)) return;
  const auto json = nlohmann::json::parse(read_text(file), nullptr, /*allow_exceptions=*/false);
  const auto points = list_member(json, "points");
  for (std::size_t i = 0; i < std::min(states_.size(), points.size()); ++i) {
    // What failed, was stopped or was cut off is tried again.
    if (text_member(points[i], "status") != name_of(PointStatus::kDone)) continue;
    const std::filesystem::path run = text_member(points[i], "run");
    if (is_finished_run(run)) states_[i] = {PointStatus::kDone, "", run, number_member(points[i], "seconds")};
  }
}

void SweepFolder::write() const {
  nlohmann::ordered_json points = nlohmann::json::array();
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const SweepPoint& point = plan_.points[i];
    nlohmann::ordered_json settings = nlohmann::json::object();
    for (const auto& [path, value] : point.settings) settings[path] = value;
    points.push_back({{"settings", settings},
                      {"seed", point.seed},
                      {"status", name_of(states_[i].status)},
                      {"reason", states_[i].reason},
                      {"run", states_[i].run.string()},
                      {"seconds", states_[i].seconds}});
  }
  const nlohmann::ordered_json json{{"recipe", plan_.recipe_file},    {"title", plan_.title}, {"keys", plan_.keys},
                                    {"short_keys", plan_.short_keys}, {"seeds", plan_.seeds}, {"points", points}};
  write_file(path_ / "sweep.json", json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  const Table table = points_table(plan_, states_);
  write_file(path_ / "points.csv", to_csv(table));
  write_file(path_ / "points.json", to_json(table));
}

Table points_table(const SweepPlan& plan, const std::vector<PointState>& states) {
  Table table{
      .name = "points", .caption = "every point of the sweep", .columns = {{"point", ColumnType::kCount}}, .rows = {}};
  for (std::size_t i = 0; i < plan.keys.size(); ++i)
    table.columns.push_back({plan.keys[i], ColumnType::kText, plan.short_keys[i]});
  for (const char* name : {"seed", "status", "reason", "run"}) table.columns.push_back({name, ColumnType::kText});
  table.columns.push_back({"seconds", ColumnType::kSeconds});
  const std::size_t first_result = table.columns.size();
  for (std::size_t i = 0; i < states.size(); ++i) {
    const SweepPoint& point = plan.points[i];
    Row row{i};
    for (const std::string& key : plan.keys) {
      const auto found = std::find_if(point.settings.begin(), point.settings.end(),
                                      [&](const PointSetting& setting) { return setting.first == key; });
      row.emplace_back(found == point.settings.end() ? Cell() : Cell(found->second));
    }
    const PointState& state = states[i];
    row.insert(row.end(), {std::to_string(point.seed), name_of(state.status), state.reason, state.run.string(),
                           state.seconds > 0 ? Cell(state.seconds) : Cell()});
    row.resize(table.columns.size());
    if (state.status == PointStatus::kDone) {
      visit_metrics(read_summary(state.run), [&](const std::string& name, const Column& column, double value) {
        const std::size_t place = column_of(table, name);
        if (place == table.columns.size()) table.columns.push_back({name, column.type, "", column.shown});
        row.resize(table.columns.size());
        row[place] = value;
      });
    }
    table.rows.push_back(std::move(row));
  }
  for (Row& row : table.rows) row.resize(std::max(table.columns.size(), first_result));
  return table;
}

}  // namespace kd
