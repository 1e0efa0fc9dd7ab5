// compare.h
#include "report/compare.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "kd/diagnostics.h"

namespace kd {
namespace {

/// More settings than this are told below the table, group by group.
constexpr std::size_t kMostSettings = 8;

/// What rows of several runs are one row: the group, the texts, and the how manieth of these texts it is.
struct RowKey {
  std::size_t group;
  std::vector<std::string> texts;
  std::size_t nth;
  auto operator<=>(const RowKey&) const = default;
};

struct FoundRow {
  RowKey key;
  std::map<std::string, std::vector<double>> by_seed;  ///< the metrics of each run
};

std::vector<std::string> names_of(const std::vector<Column>& columns) {
  std::vector<std::string> names;
  for (const Column& column : columns) names.push_back(column.name);
  return names;
}

std::size_t place_of(const std::vector<Column>& columns, const std::string& name) {
  const auto found =
      std::find_if(columns.begin(), columns.end(), [&](const Column& column) { return column.name == name; });
  return static_cast<std::size_t>(found - columns.begin());
}

bool is_measure(const Column& column) { return column.type != ColumnType::kText; }

/// Nothing where the file is damaged: what is left out is told.
std::optional<Table> intact_table(const std::filesystem::path& run, const std::string& name) {
  try {
    return read_table(run, name);
  } catch (const FileError&) {
    return std::nullopt;
  }
}

/// The first table of the name among the runs.
Table example_of(const RunSet& set, const std::string& name) {
  std::vector<std::string> known;
  for (const RunGroup& group : set.groups) {
    for (const FinishedRun& run : group.runs) {
      if (auto table = intact_table(run.folder, name)) return *std::move(table);
      for (const std::string& other : table_names(run.folder)) known.push_back(other);
    }
  }
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  throw RecipeError({}, fmt::format("no run has a table '{}'", name), name_hint(name, known, "tables"));
}

std::vector<Column> chosen_metrics(const Table& table, const std::vector<std::string>& wanted) {
  std::vector<Column> metrics;
  if (wanted.empty()) {
    std::copy_if(table.columns.begin(), table.columns.end(), std::back_inserter(metrics), [](const Column& column) {
      return column.shown && (column.type == ColumnType::kShare || column.type == ColumnType::kNumber);
    });
    return metrics;
  }
  std::vector<Column> known;
  std::copy_if(table.columns.begin(), table.columns.end(), std::back_inserter(known), is_measure);
  for (const std::string& name : wanted) {
    const std::size_t place = place_of(known, name);
    if (place == known.size())
      throw RecipeError({}, fmt::format("the table '{}' has no number '{}'", table.name, name),
                        name_hint(name, names_of(known), "its numbers"));
    metrics.push_back(known[place]);
  }
  return metrics;
}

/// "student" or "pair/net_2" as stage and network.
std::pair<std::string, std::string> split_name(const std::string& name) {
  const std::size_t slash = name.find('/');
  return slash == std::string::npos ? std::pair(name, std::string())
                                    : std::pair(name.substr(0, slash), name.substr(slash + 1));
}

class Pivot {
 public:
  Pivot(const RunSet& set, const CompareOptions& options)
      : set_(set), options_(options), example_(example_of(set, options.table)) {
    result_.table = options.table;
    result_.caption = example_.caption;
    result_.metrics = chosen_metrics(example_, options.metrics);
    for (const Column& column : example_.columns) {
      if (!is_measure(column)) texts_.push_back(column);
    }
    stage_ = place_of(texts_, "stage");
    network_ = place_of(texts_, "network");
  }

  Comparison make() {
    read_rows();
    keep_stage();
    name_columns();
    add_rows();
    compare_with_baseline();
    sort_rows();
    add_notes();
    choose_columns();
    return std::move(result_);
  }

 private:
  void read_rows() {
    std::map<RowKey, std::size_t> known;
    for (std::size_t group = 0; group < set_.groups.size(); ++group) {
      for (const FinishedRun& run : set_.groups[group].runs) {
        const auto table = intact_table(run.folder, options_.table);
        if (!table || names_of(table->columns) != names_of(example_.columns)) {
          without_table_.push_back(run.folder.string());
          continue;
        }
        std::map<std::vector<std::string>, std::size_t> seen;
        for (const Row& row : table->rows) {
          RowKey key{group, {}, 0};
          std::vector<double> numbers;
          for (std::size_t c = 0; c < row.size(); ++c) {
            if (!is_measure(table->columns[c])) key.texts.push_back(shown(row[c], ColumnType::kText));
          }
          for (const Column& metric : result_.metrics)
            numbers.push_back(row[place_of(table->columns, metric.name)].number());
          key.nth = seen[key.texts]++;
          const auto [found, is_new] = known.emplace(key, rows_.size());
          if (is_new) rows_.push_back({key, {}});
          rows_[found->second].by_seed[run.seed] = std::move(numbers);
        }
      }
    }
    // Groups stay together, whichever run showed a row first.
    std::stable_sort(rows_.begin(), rows_.end(),
                     [](const FoundRow& a, const FoundRow& b) { return a.key.group < b.key.group; });
  }

  bool is_of(const FoundRow& row, const std::string& stage, const std::string& network) const {
    return row.key.texts[stage_] == stage &&
           (network.empty() || network_ == texts_.size() || row.key.texts[network_] == network);
  }

  void require_stage(const std::string& option, const std::string& name) const {
    if (stage_ == texts_.size())
      throw RecipeError({}, fmt::format("{}: the table '{}' is not about stages", option, options_.table));
    const auto [stage, network] = split_name(name);
    std::set<std::string> known;
    for (const FoundRow& row : all_rows_) {
      if (is_of(row, stage, network)) return;
      known.insert(row.key.texts[stage_]);
      if (network_ < texts_.size()) known.insert(row.key.texts[stage_] + "/" + row.key.texts[network_]);
    }
    throw RecipeError({}, fmt::format("{}: no run has a stage '{}'", option, name),
                      name_hint(name, {known.begin(), known.end()}, "stages"));
  }

  void keep_stage() {
    all_rows_ = rows_;
    if (options_.stage.empty()) return;
    require_stage("--stage", options_.stage);
    const auto [stage, network] = split_name(options_.stage);
    std::erase_if(rows_, [&, name = std::pair(stage, network)](const FoundRow& row) {
      return !is_of(row, name.first, name.second);
    });
  }

  void name_columns() {
    std::set<std::string> recipes;
    for (const RunGroup& group : set_.groups) recipes.insert(group.runs.front().recipe);
    several_recipes_ = recipes.size() > 1;
    too_many_settings_ = set_.varied.size() > kMostSettings;
    if (several_recipes_) result_.name_columns.push_back({"recipe", ColumnType::kText});
    if (too_many_settings_) result_.name_columns.push_back({"group", ColumnType::kText});
    for (std::size_t i = 0; i < set_.varied.size() && !too_many_settings_; ++i)
      result_.name_columns.push_back({set_.varied[i], ColumnType::kText, set_.short_varied[i]});
    result_.settings = result_.name_columns.size();
    result_.name_columns.insert(result_.name_columns.end(), texts_.begin(), texts_.end());
  }

  void add_rows() {
    for (const FoundRow& found : rows_) {
      ComparedRow row{.group = found.key.group, .names = {}, .runs = found.by_seed.size(), .numbers = {}};
      const RunGroup& group = set_.groups[found.key.group];
      if (several_recipes_) row.names.emplace_back(group.runs.front().recipe);
      if (too_many_settings_) row.names.emplace_back(std::to_string(found.key.group + 1));
      for (std::size_t i = 0; i < set_.varied.size() && !too_many_settings_; ++i) {
        const auto value = group.settings.find(set_.varied[i]);
        row.names.push_back(value == group.settings.end() ? Cell("–") : Cell(plain_value(value->second)));
      }
      for (const std::string& text : found.key.texts) row.names.emplace_back(text);
      for (std::size_t m = 0; m < result_.metrics.size(); ++m) {
        std::vector<double> values;
        for (const auto& [seed, numbers] : found.by_seed) values.push_back(numbers[m]);
        row.numbers.push_back({values, spread_of(values), std::nullopt});
      }
      result_.rows.push_back(std::move(row));
    }
  }

  void compare_with_baseline() {
    if (options_.baseline.empty()) return;
    result_.baseline = options_.baseline;
    const bool by_setting = options_.baseline.find('=') != std::string::npos;
    if (by_setting) {
      find_baseline_groups();
    } else {
      require_stage("--baseline", options_.baseline);
    }
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const FoundRow* base = by_setting ? same_row_of_baseline(rows_[i]) : baseline_stage_of(rows_[i]);
      if (base == nullptr) continue;
      if (base->key == rows_[i].key) {
        result_.rows[i].is_baseline = true;
        continue;
      }
      for (std::size_t m = 0; m < result_.metrics.size(); ++m) {
        std::vector<double> differences;
        for (const auto& [seed, numbers] : rows_[i].by_seed) {
          const auto other = base->by_seed.find(seed);
          if (other != base->by_seed.end()) differences.push_back(numbers[m] - other->second[m]);
        }
        result_.rows[i].numbers[m].difference = spread_of(differences);
      }
    }
  }

  /// The groups whose settings are what --baseline says; other settings may still differ between them.
  void find_baseline_groups() {
    const std::size_t equals = options_.baseline.find('=');
    const std::string ending = options_.baseline.substr(0, equals), value = options_.baseline.substr(equals + 1);
    const std::vector<std::string> keys = keys_ending(set_.varied, ending);
    if (keys.size() != 1) {
      throw RecipeError(
          {}, fmt::format("--baseline: {} settings that differ between the runs end in '{}'", keys.size(), ending),
          keys.empty() ? name_hint(ending, set_.short_varied, "settings that differ")
                       : name_hint("", keys, "they are"));
    }
    baseline_key_ = keys.front();
    std::set<std::string> values;
    for (const RunGroup& group : set_.groups) {
      const auto found = group.settings.find(baseline_key_);
      if (found == group.settings.end()) continue;
      values.insert(plain_value(found->second));
      if (plain_value(found->second) == plain_value(value)) baseline_value_ = found->second;
    }
    if (baseline_value_.empty())
      throw RecipeError({}, fmt::format("--baseline: no run has {} = {}", ending, value),
                        fmt::format("values: {}", fmt::join(values, ", ")));
  }

  /// The row of the same texts in the group that has the baseline's setting and agrees in all others.
  const FoundRow* same_row_of_baseline(const FoundRow& row) const {
    std::map<std::string, std::string> wanted = set_.groups[row.key.group].settings;
    wanted[baseline_key_] = baseline_value_;
    const FoundRow* found = nullptr;
    for (const FoundRow& other : all_rows_) {
      if (other.key.texts != row.key.texts || other.key.nth != row.key.nth) continue;
      const auto& settings = set_.groups[other.key.group].settings;
      if (settings == wanted) return &other;
      // A weight that makes up the rest moves with the setting; then the only group of the value is meant.
      if (settings.contains(baseline_key_) && settings.at(baseline_key_) == baseline_value_)
        found = found == nullptr ? &other : &ambiguous_;
    }
    return found == &ambiguous_ ? nullptr : found;
  }

  const FoundRow* baseline_stage_of(const FoundRow& row) const {
    const auto [stage, network] = split_name(options_.baseline);
    for (const FoundRow& other : all_rows_) {
      if (other.key.group != row.key.group || !is_of(other, stage, network) || other.key.nth != row.key.nth) continue;
      bool same = true;
      for (std::size_t i = 0; i < texts_.size(); ++i)
        same &= i == stage_ || i == network_ || other.key.texts[i] == row.key.texts[i];
      if (same) return &other;
    }
    return nullptr;
  }

  void sort_rows() {
    if (options_.sort.empty()) return;
    const bool down = options_.sort.front() == '-';
    const std::string name = options_.sort.substr(down ? 1 : 0);
    std::vector<Column> named = result_.name_columns;
    std::size_t column = place_of(named, name);
    for (std::size_t i = 0; i < named.size() && column == named.size(); ++i) {
      if (named[i].title == name) column = i;
    }
    const std::size_t metric = place_of(result_.metrics, name);
    if (column == named.size() && metric == result_.metrics.size()) {
      std::vector<std::string> known = names_of(result_.metrics);
      for (const Column& one : named) known.push_back(one.title.empty() ? one.name : one.title);
      throw RecipeError({}, fmt::format("--sort: there is no column '{}'", name), name_hint(name, known, "columns"));
    }
    const auto before = [&](const ComparedRow& a, const ComparedRow& b) {
      if (metric < result_.metrics.size()) return a.numbers[metric].spread.mean < b.numbers[metric].spread.mean;
      return comes_before(a.names[column].text(), b.names[column].text());
    };
    std::stable_sort(result_.rows.begin(), result_.rows.end(),
                     [&](const ComparedRow& a, const ComparedRow& b) { return down ? before(b, a) : before(a, b); });
  }

  /// Numbers by size, before texts.
  static bool comes_before(const std::string& a, const std::string& b) {
    char *a_end = nullptr, *b_end = nullptr;
    const double a_number = std::strtod(a.c_str(), &a_end), b_number = std::strtod(b.c_str(), &b_end);
    const bool a_is = !a.empty() && *a_end == '\0', b_is = !b.empty() && *b_end == '\0';
    return a_is && b_is ? a_number < b_number : a_is != b_is ? a_is : a < b;
  }

  void add_notes() {
    for (std::size_t i = 0; i < set_.groups.size() && too_many_settings_; ++i) {
      std::string text = fmt::format("group {}:", i + 1);
      std::size_t told = 0;
      for (const auto& [key, value] : set_.groups[i].settings) {
        if (told++ < kMostSettings) text += fmt::format(" {} = {},", key, value);
      }
      if (told > kMostSettings) text += fmt::format(" and {} more,", told - kMostSettings);
      text.pop_back();
      result_.notes.push_back(std::move(text));
    }
    for (const std::string& folder : without_table_)
      result_.notes.push_back(fmt::format("{} has no intact table '{}' of this shape", folder, options_.table));
    std::size_t most = 0;
    for (const ComparedRow& row : result_.rows) most = std::max(most, row.runs);
    if (most == 1) result_.notes.emplace_back("one seed: nothing can be said of the spread");
  }

  void choose_columns() {
    for (const std::string& wanted : options_.columns) {
      const bool is_known = std::any_of(result_.name_columns.begin(), result_.name_columns.end(),
                                        [&](const Column& one) { return one.name == wanted || one.title == wanted; });
      if (is_known) continue;
      std::vector<std::string> known;
      for (const Column& one : result_.name_columns) known.push_back(one.title.empty() ? one.name : one.title);
      throw RecipeError({}, fmt::format("--columns: there is no column '{}'", wanted),
                        name_hint(wanted, known, "columns"));
    }
    // A network that is its stage's only one everywhere says nothing.
    const auto say_nothing = [&](std::size_t column) {
      return result_.name_columns[column].name == "network" &&
             std::all_of(result_.rows.begin(), result_.rows.end(),
                         [&](const ComparedRow& row) { return row.names[column] == Cell("model"); });
    };
    for (std::size_t column = result_.name_columns.size(); column-- > 0;) {
      const Column& one = result_.name_columns[column];
      const auto wanted = [&](const std::string& name) { return name == one.name || name == one.title; };
      const bool is_chosen = options_.columns.empty()
                                 ? !say_nothing(column) && !(one.name == "stage" && !options_.stage.empty())
                                 : std::any_of(options_.columns.begin(), options_.columns.end(), wanted);
      if (is_chosen) continue;
      if (column < result_.settings) --result_.settings;
      result_.name_columns.erase(result_.name_columns.begin() + static_cast<std::ptrdiff_t>(column));
      for (ComparedRow& row : result_.rows) row.names.erase(row.names.begin() + static_cast<std::ptrdiff_t>(column));
    }
  }

  const RunSet& set_;
  const CompareOptions& options_;
  const Table example_;
  std::vector<Column> texts_;
  std::size_t stage_ = 0, network_ = 0;  // their places in texts_, or its size
  std::vector<FoundRow> rows_, all_rows_;
  std::vector<std::string> without_table_;
  bool several_recipes_ = false, too_many_settings_ = false;
  std::string baseline_key_, baseline_value_;
  FoundRow ambiguous_;
  Comparison result_;
};

std::string title_of(const Column& column) { return column.title.empty() ? column.name : column.title; }

/// With decimals where a count has a spread.
ColumnType shown_as(const Column& metric, double deviation) {
  return metric.type == ColumnType::kCount && deviation != 0 ? ColumnType::kSeconds : metric.type;
}

std::string spread_text(const Spread& spread, const Column& metric) {
  const double deviation = std::isnan(spread.deviation) ? 0 : spread.deviation;
  const ColumnType type = shown_as(metric, deviation);
  const std::string mean = shown(spread.mean, type);
  const bool alone = std::isnan(spread.deviation) || (metric.type == ColumnType::kCount && deviation == 0);
  return alone ? mean : mean + " ± " + shown(spread.deviation, type);
}

std::string interval_text(const Spread& spread, const Column& metric) {
  const auto interval = interval_of(spread);
  const ColumnType type = shown_as(metric, spread.deviation);
  return interval ? fmt::format("[{}, {}]", shown(interval->low, type), shown(interval->high, type)) : "–";
}

std::string signed_text(double number, ColumnType type) {
  const std::string text = shown(number, type);
  return std::isnan(number) || text.starts_with("-") ? text : "+" + text;
}

}  // namespace

Comparison compare(const RunSet& set, const CompareOptions& options) { return Pivot(set, options).make(); }

void show_repeats_once(Comparison& comparison, std::size_t groups) {
  if (groups < 2) return;
  const auto subject = [&](const ComparedRow& row) {
    return std::vector<Cell>(row.names.begin() + static_cast<std::ptrdiff_t>(comparison.settings), row.names.end());
  };
  const auto same_values = [](const ComparedRow& a, const ComparedRow& b) {
    return std::equal(
        a.numbers.begin(), a.numbers.end(), b.numbers.begin(), b.numbers.end(),
        [](const ComparedNumber& one, const ComparedNumber& other) { return one.values == other.values; });
  };
  std::vector<ComparedRow> shown_rows;
  for (const ComparedRow& row : comparison.rows) {
    std::size_t alike = 0;
    for (const ComparedRow& other : comparison.rows) alike += subject(other) == subject(row) && same_values(other, row);
    if (alike < groups) {
      shown_rows.push_back(row);
      continue;
    }
    const bool is_known = std::any_of(shown_rows.begin(), shown_rows.end(), [&](const ComparedRow& known) {
      return subject(known) == subject(row) && same_values(known, row);
    });
    if (is_known) continue;
    shown_rows.push_back(row);
    std::fill_n(shown_rows.back().names.begin(), comparison.settings, Cell("all"));
  }
  comparison.rows = std::move(shown_rows);
}

Table readable(const Comparison& comparison) {
  const bool is_one = comparison.metrics.size() == 1;
  Table table{.name = comparison.table,
              .caption = "mean ± standard deviation over runs" +
                         (comparison.baseline.empty()
                              ? std::string()
                              : fmt::format("; differences from {} seed by seed, with their 95 % interval",
                                            comparison.baseline)),
              .columns = comparison.name_columns,
              .rows = {}};
  table.columns.push_back({"runs", ColumnType::kCount});
  const auto add_text = [&](const std::string& name, const std::string& title) {
    table.columns.push_back({name, ColumnType::kNumber, title});
  };
  for (const Column& metric : comparison.metrics) {
    const std::string title = title_of(metric), unit = metric.type == ColumnType::kShare ? " %" : "";
    add_text(metric.name, title + unit);
    if (is_one) add_text(metric.name + "_interval", "95 % interval");
    if (comparison.baseline.empty()) continue;
    add_text(metric.name + "_difference", is_one ? "difference" : "Δ " + title);
    if (is_one) add_text(metric.name + "_needed", "seeds needed");
  }
  for (const ComparedRow& compared : comparison.rows) {
    Row row = compared.names;
    row.emplace_back(compared.runs);
    for (std::size_t m = 0; m < comparison.metrics.size(); ++m) {
      const Column& metric = comparison.metrics[m];
      const ComparedNumber& number = compared.numbers[m];
      row.emplace_back(spread_text(number.spread, metric));
      if (is_one) row.emplace_back(interval_text(number.spread, metric));
      if (comparison.baseline.empty()) continue;
      std::string difference = compared.is_baseline ? "baseline" : "–", needed = "–";
      if (number.difference && number.difference->count > 0) {
        const Spread& spread = *number.difference;
        difference = signed_text(spread.mean, shown_as(metric, spread.deviation));
        if (spread.count > 1) difference += " " + interval_text(spread, metric);
        const auto pairs = pairs_needed(spread.mean, spread.deviation);
        if (spread.count > 1) needed = pairs ? std::to_string(*pairs) : "> 10000";
      }
      row.emplace_back(difference);
      if (is_one) row.emplace_back(needed);
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table complete(const Comparison& comparison) {
  Table table{
      .name = comparison.table, .caption = "statistics over runs", .columns = comparison.name_columns, .rows = {}};
  table.columns.push_back({"runs", ColumnType::kCount});
  for (const Column& metric : comparison.metrics) {
    const ColumnType type = metric.type == ColumnType::kCount ? ColumnType::kNumber : metric.type;
    for (const char* ending : {"", "_deviation", "_low", "_high"})
      table.columns.push_back({metric.name + ending, type});
    if (comparison.baseline.empty()) continue;
    for (const char* ending : {"_difference", "_difference_deviation", "_difference_low", "_difference_high"})
      table.columns.push_back({metric.name + ending, type});
    for (const char* ending : {"_pairs", "_pairs_needed"})
      table.columns.push_back({metric.name + ending, ColumnType::kCount});
  }
  const auto add_spread = [](Row& row, const Spread& spread) {
    const auto interval = interval_of(spread);
    row.insert(row.end(), {spread.mean, spread.deviation, interval ? Cell(interval->low) : Cell(),
                           interval ? Cell(interval->high) : Cell()});
  };
  for (const ComparedRow& compared : comparison.rows) {
    Row row = compared.names;
    row.emplace_back(compared.runs);
    for (const ComparedNumber& number : compared.numbers) {
      add_spread(row, number.spread);
      if (comparison.baseline.empty()) continue;
      if (!number.difference) {
        row.resize(row.size() + 6);
        continue;
      }
      add_spread(row, *number.difference);
      const auto needed = pairs_needed(number.difference->mean, number.difference->deviation);
      row.insert(row.end(), {number.difference->count, needed ? Cell(*needed) : Cell()});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace kd
