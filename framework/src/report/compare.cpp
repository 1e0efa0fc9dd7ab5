// compare.h
#include "report/compare.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"
#include "kd/value.h"
#include "recipe/toml_reader.h"
#include "report/table_views.h"

namespace kd {
namespace {

using Names = std::vector<std::string>;

Spread spread_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, values.size() < 2 ? std::numeric_limits<double>::quiet_NaN()
                                  : std::sqrt(squares / static_cast<double>(values.size() - 1))};
}

bool same_columns(const Table& a, const Table& b) {
  return std::equal(
      a.columns.begin(), a.columns.end(), b.columns.begin(), b.columns.end(),
      [](const Column& one, const Column& other) { return one.name == other.name && one.type == other.type; });
}

/// The same table of several runs. Rows keep the order in which they first come.
ComparedTable merge(const std::string& file, const std::vector<Table>& tables) {
  const Table& first = tables.front();
  ComparedTable merged{.file = file, .name_columns = {}, .number_columns = {}, .rows = {}};
  std::vector<std::size_t> names, numbers;
  for (std::size_t column = 0; column < first.columns.size(); ++column) {
    const bool is_name = first.columns[column].type == ColumnType::kText;
    (is_name ? names : numbers).push_back(column);
    (is_name ? merged.name_columns : merged.number_columns).push_back(first.columns[column]);
  }
  std::vector<std::vector<std::vector<double>>> values;  // of each row and number column, over runs
  for (const Table& table : tables) {
    if (!same_columns(table, first)) continue;
    std::map<Names, std::size_t> seen;  // rows of one name by their order
    for (const Row& row : table.rows) {
      ComparedRow compared;
      for (const std::size_t column : names) compared.names.push_back(shown(row[column], ColumnType::kText));
      std::size_t nth = seen[compared.names]++;
      auto found = std::find_if(merged.rows.begin(), merged.rows.end(),
                                [&](const ComparedRow& other) { return other.names == compared.names && nth-- == 0; });
      if (found == merged.rows.end()) {
        values.emplace_back(numbers.size());
        found = merged.rows.insert(found, std::move(compared));
      }
      ++found->runs;
      auto& of_row = values[static_cast<std::size_t>(found - merged.rows.begin())];
      for (std::size_t i = 0; i < numbers.size(); ++i) of_row[i].push_back(row[numbers[i]].number());
    }
  }
  for (std::size_t row = 0; row < merged.rows.size(); ++row) {
    for (const auto& column : values[row]) merged.rows[row].numbers.push_back(spread_of(column));
  }
  return merged;
}

/// The tables of a run without their endings; figures keep their numbers in files of another kind.
std::vector<std::string> tables_of(const std::filesystem::path& run) {
  std::vector<std::string> files = {"summary"};
  std::set<std::string> analyses;
  if (std::filesystem::is_directory(run / "analysis")) {
    for (const auto& item : std::filesystem::directory_iterator(run / "analysis")) {
      const std::string name = item.path().filename().string();
      if (name.ends_with(".json") && !name.ends_with(".figure.json"))
        analyses.insert("analysis/" + item.path().stem().string());
    }
  }
  files.insert(files.end(), analyses.begin(), analyses.end());
  return files;
}

/// "stage.student.scheme.temperature" → "4": the leaves of a recipe. Items of a list are called by their name or place.
void flatten(const Value& value, const std::string& path, std::map<std::string, std::string>& leaves) {
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
    leaves[path] = value.to_toml();
  }
}

struct Run {
  std::filesystem::path folder;
  std::string seed;
  Value settings;
};

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
  if (const std::string status = facts.value("status", ""); status != "ok") return "its status is '" + status + "'";
  if (!facts.value("whole", true))
    return fmt::format("each of its stages was ended after {} steps (--max-steps)", facts.value("max_steps", 0));
  for (const char* file : {"summary.json", "resolved.toml"}) {
    if (!std::filesystem::exists(folder / file)) return std::string("it holds no ") + file;
  }
  return "";
}

Run read_run(const std::filesystem::path& folder) {
  Value settings = read_toml_file((folder / "resolved.toml").string());
  const Value* seed = settings.find("seed");
  Run run{folder, seed == nullptr ? "" : seed->to_toml(), std::move(settings)};
  for (const char* key : {"seed", "device"}) run.settings.erase(key);
  return run;
}

void name_differences(std::vector<ComparedGroup>& groups, const std::vector<Value>& settings) {
  std::vector<std::map<std::string, std::string>> leaves(settings.size());
  for (std::size_t i = 0; i < settings.size(); ++i) flatten(settings[i], "", leaves[i]);
  const auto alike = [&leaves](const std::string& key, const std::string& value) {
    return std::all_of(leaves.begin(), leaves.end(), [&](const auto& other) {
      const auto found = other.find(key);
      return found != other.end() && found->second == value;
    });
  };
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (const auto& [key, value] : leaves[i]) {
      if (!alike(key, value)) groups[i].differences.push_back(key + " = " + value);
    }
  }
}

std::string shown_spread(const Spread& spread, ColumnType type) {
  if (std::isnan(spread.mean) || std::isnan(spread.deviation)) return shown(spread.mean, type);
  if (type == ColumnType::kCount && spread.deviation == 0) return shown(spread.mean, type);
  const ColumnType with_decimals = type == ColumnType::kCount ? ColumnType::kSeconds : type;
  return shown(spread.mean, with_decimals) + " ± " + shown(spread.deviation, with_decimals);
}

/// A compared table as people read it: each number with its spread.
Table as_table(const ComparedTable& compared, std::size_t runs) {
  Table table{.name = compared.file, .caption = compared.file, .columns = compared.name_columns, .rows = {}};
  table.columns.insert(table.columns.end(), compared.number_columns.begin(), compared.number_columns.end());
  const bool some_lack = std::any_of(compared.rows.begin(), compared.rows.end(),
                                     [runs](const ComparedRow& row) { return row.runs != runs; });
  if (some_lack) table.columns.push_back({"runs", ColumnType::kCount});
  for (const ComparedRow& compared_row : compared.rows) {
    Row row(compared_row.names.begin(), compared_row.names.end());
    for (std::size_t i = 0; i < compared_row.numbers.size(); ++i)
      row.emplace_back(shown_spread(compared_row.numbers[i], compared.number_columns[i].type));
    if (some_lack) row.emplace_back(compared_row.runs);
    table.rows.push_back(std::move(row));
  }
  return table;
}

/// As long as people can take them in; the CSV has every difference by its group.
constexpr std::size_t kMostDifferences = 12;

}  // namespace

Comparison compare_runs(const std::vector<std::filesystem::path>& runs) {
  Comparison comparison;
  std::vector<ComparedGroup>& groups = comparison.groups;
  std::vector<Value> settings;  // of each group
  std::set<std::filesystem::path> seen;
  for (const std::filesystem::path& folder : runs) {
    std::string reason = why_not(folder);
    if (reason.empty() && !seen.insert(std::filesystem::canonical(folder)).second) reason = "it was named before";
    if (!reason.empty()) {
      comparison.left_out.push_back({folder, reason});
      continue;
    }
    Run run = read_run(folder);
    const auto found = std::find(settings.begin(), settings.end(), run.settings);
    const auto group = static_cast<std::size_t>(found - settings.begin());
    if (found == settings.end()) {
      settings.push_back(std::move(run.settings));
      groups.emplace_back();
    }
    const std::vector<std::string>& seeds = groups[group].seeds;
    if (const auto same = std::find(seeds.begin(), seeds.end(), run.seed); same != seeds.end()) {
      comparison.left_out.push_back(
          {folder, fmt::format("it repeats seed {} of {}", run.seed,
                               groups[group].runs[static_cast<std::size_t>(same - seeds.begin())].string())});
      continue;
    }
    groups[group].runs.push_back(run.folder);
    groups[group].seeds.push_back(run.seed);
  }
  for (ComparedGroup& group : groups) {
    for (const std::string& file : tables_of(group.runs.front())) {
      std::vector<Table> tables;
      for (const auto& folder : group.runs) {
        const std::filesystem::path path = folder / (file + ".json");
        if (std::filesystem::exists(path)) tables.push_back(table_from_json(read_text(path), path));
      }
      group.tables.push_back(merge(file, tables));
    }
  }
  name_differences(groups, settings);
  if (!groups.empty()) return comparison;
  std::string reasons;
  for (const LeftOutRun& run : comparison.left_out)
    reasons += fmt::format("\n    {}: {}", run.folder.string(), run.reason);
  throw FileError("there is no run to compare:" + reasons);
}

std::string to_markdown(const std::vector<ComparedGroup>& groups) {
  std::string text;
  for (const ComparedGroup& group : groups) {
    text += fmt::format("## {} run(s), seed {}\n\n", group.runs.size(), fmt::join(group.seeds, ", "));
    const std::size_t shown = std::min(group.differences.size(), kMostDifferences);
    for (std::size_t i = 0; i < shown; ++i) text += "- `" + group.differences[i] + "`\n";
    if (shown < group.differences.size()) text += fmt::format("- … and {} more\n", group.differences.size() - shown);
    if (shown > 0) text += '\n';
    for (const ComparedTable& table : group.tables)
      text += table.file + "\n\n" + to_markdown(as_table(table, group.runs.size())) + '\n';
  }
  return text;
}

std::string to_latex(const std::vector<ComparedGroup>& groups) {
  std::string text;
  for (const ComparedGroup& group : groups) {
    text += fmt::format("% {} run(s), seed {}\n", group.runs.size(), fmt::join(group.seeds, ", "));
    for (const std::string& difference : group.differences) text += "% " + difference + '\n';
    for (const ComparedTable& table : group.tables) text += to_latex(as_table(table, group.runs.size())) + '\n';
  }
  return text;
}

std::string to_csv(const std::vector<ComparedGroup>& groups) {
  std::string text = "group,file,row,column,runs,mean,deviation\n";
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (const ComparedTable& table : groups[i].tables) {
      for (const ComparedRow& row : table.rows) {
        for (std::size_t column = 0; column < row.numbers.size(); ++column) {
          const Spread& number = row.numbers[column];
          text += fmt::format("{},{},\"{}\",{},{},{},{}\n", i, table.file, fmt::join(row.names, "/"),
                              table.number_columns[column].name, row.runs, number.mean,
                              std::isnan(number.deviation) ? std::string() : fmt::format("{}", number.deviation));
        }
      }
    }
  }
  return text;
}

}  // namespace kd
