// compare.h
#include "report/compare.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"
#include "kd/value.h"
#include "recipe/toml_reader.h"

namespace kd {
namespace {

/// A cell of a CSV file. What is quoted is text, whatever it looks like: the class "7" is no number.
struct Cell {
  std::string text;
  bool quoted = false;

  bool operator==(const Cell& other) const = default;
};
using Cells = std::vector<Cell>;
using Fields = std::vector<std::string>;

/// The cells of a line of CSV as RFC 4180 has it, without line breaks in them.
Cells split_line(const std::string& line) {
  Cells cells(1);
  bool inside = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (inside && line[i] == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      cells.back().text += line[++i];
    } else if (line[i] == '"') {
      inside = !inside;
      cells.back().quoted = true;
    } else if (line[i] == ',' && !inside) {
      cells.emplace_back();
    } else {
      cells.back().text += line[i];
    }
  }
  return cells;
}

std::optional<double> to_number(const Cell& cell) {
  const std::string& text = cell.text;
  if (cell.quoted) return std::nullopt;
  if (text.empty()) return std::numeric_limits<double>::quiet_NaN();  // as analyses write what there is none of
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

struct Csv {
  Cells header;
  std::vector<Cells> rows;
};

Csv read_csv(const std::filesystem::path& file) {
  std::istringstream stream(read_text(file));
  Csv csv;
  for (std::string line; std::getline(stream, line);) {
    Cells cells = split_line(line);
    if (csv.header.empty()) {
      csv.header = std::move(cells);
    } else if (cells.size() == csv.header.size()) {
      csv.rows.push_back(std::move(cells));
    }
  }
  return csv;
}

enum class ColumnKind { kName, kNumber, kFlag };

/// A flag, such as whether a stage was reused, says nothing about a result.
ColumnKind kind_of_column(const Csv& csv, std::size_t column) {
  const auto all = [&](const auto& test) {
    return std::all_of(csv.rows.begin(), csv.rows.end(), [&](const Cells& row) { return test(row[column]); });
  };
  if (all([](const Cell& cell) { return cell.text == "true" || cell.text == "false"; })) return ColumnKind::kFlag;
  return all([](const Cell& cell) { return to_number(cell).has_value(); }) ? ColumnKind::kNumber : ColumnKind::kName;
}

Spread spread_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, values.size() < 2 ? std::numeric_limits<double>::quiet_NaN()
                                  : std::sqrt(squares / static_cast<double>(values.size() - 1))};
}

/// The same table of several runs. Rows keep the order in which they first come.
ComparedTable merge(const std::string& file, const std::vector<Csv>& tables) {
  const Csv& first = tables.front();
  ComparedTable merged{.file = file, .name_columns = {}, .number_columns = {}, .rows = {}};
  std::vector<std::size_t> names, numbers;
  for (std::size_t column = 0; column < first.header.size(); ++column) {
    const ColumnKind kind = kind_of_column(first, column);
    if (kind == ColumnKind::kName) {
      names.push_back(column);
      merged.name_columns.push_back(first.header[column].text);
    } else if (kind == ColumnKind::kNumber) {
      numbers.push_back(column);
      merged.number_columns.push_back(first.header[column].text);
    }
  }
  std::vector<std::vector<std::vector<double>>> values;  // of each row and number column, over runs
  for (const Csv& table : tables) {
    if (table.header != first.header) continue;
    std::map<Fields, std::size_t> seen;  // rows of one name by their order
    for (const Cells& row : table.rows) {
      ComparedRow compared;
      for (const std::size_t column : names) compared.names.push_back(row[column].text);
      std::size_t nth = seen[compared.names]++;
      auto found = std::find_if(merged.rows.begin(), merged.rows.end(),
                                [&](const ComparedRow& other) { return other.names == compared.names && nth-- == 0; });
      if (found == merged.rows.end()) {
        values.emplace_back(numbers.size());
        found = merged.rows.insert(found, std::move(compared));
      }
      ++found->runs;
      auto& of_row = values[static_cast<std::size_t>(found - merged.rows.begin())];
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        of_row[i].push_back(to_number(row[numbers[i]]).value_or(std::numeric_limits<double>::quiet_NaN()));
      }
    }
  }
  for (std::size_t row = 0; row < merged.rows.size(); ++row) {
    for (const auto& column : values[row]) merged.rows[row].numbers.push_back(spread_of(column));
  }
  return merged;
}

std::vector<std::string> tables_of(const std::filesystem::path& run) {
  std::vector<std::string> files = {"summary.csv"};
  std::set<std::string> analyses;
  if (std::filesystem::is_directory(run / "analysis")) {
    for (const auto& item : std::filesystem::directory_iterator(run / "analysis")) {
      if (item.path().extension() == ".csv") analyses.insert("analysis/" + item.path().filename().string());
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
  if (!std::filesystem::exists(folder / "run.json")) return "it is no run folder: it holds no run.json";
  const auto facts = nlohmann::json::parse(read_text(folder / "run.json"), nullptr, /*allow_exceptions=*/false);
  if (!facts.is_object()) return "its run.json is damaged";
  if (const std::string status = facts.value("status", ""); status != "ok") return "its status is '" + status + "'";
  if (!facts.value("whole", true))
    return fmt::format("each of its stages was ended after {} steps (--max-steps)", facts.value("max_steps", 0));
  for (const char* file : {"summary.csv", "resolved.toml"}) {
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

std::string format_spread(const Spread& spread) {
  if (std::isnan(spread.mean)) return "–";
  const bool same = std::isnan(spread.deviation) || spread.deviation == 0;
  if (same && spread.mean == std::round(spread.mean)) return fmt::format("{:.0f}", spread.mean);  // a count
  if (std::isnan(spread.deviation)) return fmt::format("{:.4f}", spread.mean);
  return fmt::format("{:.4f} ± {:.4f}", spread.mean, spread.deviation);
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
      std::vector<Csv> tables;
      for (const auto& folder : group.runs) {
        if (std::filesystem::exists(folder / file)) tables.push_back(read_csv(folder / file));
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
    for (const ComparedTable& table : group.tables) {
      text += fmt::format("{}\n\n| {} | {} |\n|", table.file, fmt::join(table.name_columns, " | "),
                          fmt::join(table.number_columns, " | "));
      for (std::size_t i = 0; i < table.name_columns.size() + table.number_columns.size(); ++i) text += "---|";
      text += '\n';
      for (const ComparedRow& row : table.rows) {
        text += fmt::format("| {} |", fmt::join(row.names, " | "));
        for (const Spread& number : row.numbers) text += " " + format_spread(number) + " |";
        if (row.runs != group.runs.size()) text += fmt::format(" {} run(s) only", row.runs);
        text += '\n';
      }
      text += '\n';
    }
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
                              table.number_columns[column], row.runs, number.mean,
                              std::isnan(number.deviation) ? std::string() : fmt::format("{}", number.deviation));
        }
      }
    }
  }
  return text;
}

}  // namespace kd
