// report_figures.h
#include "report/report_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>

#include "report/statistics.h"

namespace kd {
namespace {

constexpr std::size_t kMostCurves = 16;

std::string label_of(const RunSet& set, std::size_t group) {
  std::string text;
  for (std::size_t i = 0; i < set.varied.size(); ++i) {
    const auto value = set.groups[group].settings.find(set.varied[i]);
    if (value == set.groups[group].settings.end() || text.size() > 40) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", set.short_varied[i], plain_value(value->second));
  }
  return text;
}

std::string network_name(const std::string& stage, const std::string& network) {
  return network == "model" ? stage : stage + "/" + network;
}

/// The numbers of all seeds, epoch by epoch, of a network of a group.
struct EpochCurve {
  std::string network, group;
  std::map<std::int64_t, std::vector<double>> epochs;
};

std::vector<EpochCurve> curves_of(const RunSet& set, const SetRecords& records, const std::string& split,
                                  const std::string& name) {
  std::vector<EpochCurve> curves;
  for (std::size_t group = 0; group < set.groups.size(); ++group) {
    std::map<std::string, std::size_t> known;
    for (const std::vector<Record>& of_run : records[group]) {
      for (const Record& record : of_run) {
        if (record.split != split || record.name != name) continue;
        const std::string network = network_name(record.stage, record.network);
        const auto [found, is_new] = known.emplace(network, curves.size());
        if (is_new) curves.push_back({network, set.groups.size() > 1 ? label_of(set, group) : "", {}});
        curves[found->second].epochs[record.epoch].push_back(record.value);
      }
    }
  }
  return curves;
}

/// Curves that every group has in the same way are one.
void show_repeats_once(std::vector<EpochCurve>& curves, std::size_t groups) {
  std::vector<EpochCurve> shown_curves;
  for (const EpochCurve& curve : curves) {
    const auto is_same = [&](const EpochCurve& other) {
      return other.network == curve.network && other.epochs == curve.epochs;
    };
    const auto alike = static_cast<std::size_t>(std::count_if(curves.begin(), curves.end(), is_same));
    if (alike == groups && std::any_of(shown_curves.begin(), shown_curves.end(), is_same)) continue;
    shown_curves.push_back(curve);
    if (alike == groups) shown_curves.back().group.clear();
  }
  curves = std::move(shown_curves);
}

}  // namespace

SetRecords read_records(const RunSet& set) {
  SetRecords records(set.groups.size());
  for (std::size_t group = 0; group < set.groups.size(); ++group) {
    for (const FinishedRun& run : set.groups[group].runs)
      records[group].push_back(read_records(run.folder / "metrics.jsonl"));
  }
  return records;
}

std::optional<Figure> curve_figure(const RunSet& set, const SetRecords& records, const std::string& split,
                                   const std::string& name, const std::string& title) {
  std::vector<EpochCurve> curves = curves_of(set, records, split, name);
  show_repeats_once(curves, set.groups.size());
  Panel panel{.title = "", .x = {.title = "epoch"}, .y = {.title = title}, .marks = {}, .height = 0.62, .notes = {}};
  for (std::size_t i = 0; i < std::min(curves.size(), kMostCurves); ++i) {
    const EpochCurve& one = curves[i];
    if (one.epochs.size() < 2) continue;
    Curve curve{
        .name = one.group.empty() ? one.network : one.network + " " + one.group, .x = {}, .y = {}, .spread = {}};
    bool spreads = false;
    for (const auto& [epoch, values] : one.epochs) {
      const Spread spread = spread_of(values);
      curve.x.push_back(static_cast<double>(epoch));
      curve.y.push_back(spread.mean);
      curve.spread.push_back(std::isfinite(spread.deviation) ? spread.deviation : 0);
      spreads |= spread.count > 1;
    }
    if (!spreads) curve.spread.clear();
    if (i >= 8) curve.style = Curve::Style::kDashed;
    panel.marks.emplace_back(std::move(curve));
  }
  if (panel.marks.empty()) return std::nullopt;
  return Figure{.name = split + "_" + name, .title = title + " over epochs", .panels = {panel}};
}

std::optional<Figure> seed_figure(const Comparison& comparison) {
  if (comparison.metrics.size() != 1 || comparison.rows.size() > 24) return std::nullopt;
  const Column& metric = comparison.metrics.front();
  Axis x{.title = "", .low = std::nullopt, .high = std::nullopt};
  Curve means{.name = "mean", .x = {}, .y = {}, .spread = {}, .style = Curve::Style::kPoints, .colour = 1};
  Curve seeds{.name = "seeds", .x = {}, .y = {}, .spread = {}, .style = Curve::Style::kPoints, .colour = 0};
  for (std::size_t i = 0; i < comparison.rows.size(); ++i) {
    const ComparedRow& row = comparison.rows[i];
    std::string label;
    for (const Cell& name : row.names) label += (label.empty() ? "" : " ") + shown(name, ColumnType::kText);
    x.categories.push_back(label);
    for (const double value : row.numbers.front().values) {
      seeds.x.push_back(static_cast<double>(i));
      seeds.y.push_back(value);
    }
    means.x.push_back(static_cast<double>(i) + 0.2);
    means.y.push_back(row.numbers.front().spread.mean);
  }
  const std::string title = metric.title.empty() ? metric.name : metric.title;
  return Figure{.name = "seeds",
                .title = fmt::format("{} of every seed, and the mean beside it", title),
                .panels = {{.title = "", .x = x, .y = {.title = title}, .marks = {seeds, means}, .height = 0.62}}};
}

namespace {

/// A setting that is varied, and its values by size.
struct Dimension {
  std::string key, name;
  std::vector<std::string> values;

  std::size_t place(const std::string& value) const {
    return static_cast<std::size_t>(std::find(values.begin(), values.end(), value) - values.begin());
  }
};

bool is_number(const std::string& text) {
  char* end = nullptr;
  std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0';
}

std::string value_in(const RunGroup& group, const std::string& key) {
  const auto found = group.settings.find(key);
  return found == group.settings.end() ? "–" : plain_value(found->second);
}

/// Whether each value of one setting comes with one value of the other, as with weights that make up 1.
bool move_together(const RunSet& set, const std::string& one, const std::string& other) {
  std::map<std::string, std::string> there, back;
  for (const RunGroup& group : set.groups) {
    const std::string a = value_in(group, one), b = value_in(group, other);
    if (there.emplace(a, b).first->second != b || back.emplace(b, a).first->second != a) return false;
  }
  return true;
}

std::vector<Dimension> dimensions_of(const RunSet& set) {
  std::vector<Dimension> all;
  for (std::size_t i = 0; i < set.varied.size(); ++i) {
    const std::string& key = set.varied[i];
    const bool is_known =
        std::any_of(all.begin(), all.end(), [&](const Dimension& known) { return move_together(set, known.key, key); });
    if (is_known) continue;
    std::set<std::string> values;
    for (const RunGroup& group : set.groups) values.insert(value_in(group, key));
    Dimension dimension{key, set.short_varied[i], {values.begin(), values.end()}};
    if (std::all_of(values.begin(), values.end(), is_number)) {
      std::sort(dimension.values.begin(), dimension.values.end(), [](const std::string& a, const std::string& b) {
        return std::strtod(a.c_str(), nullptr) < std::strtod(b.c_str(), nullptr);
      });
    }
    all.push_back(std::move(dimension));
  }
  // The longest two are the axes; what is left makes panels.
  std::stable_sort(all.begin(), all.end(),
                   [](const Dimension& a, const Dimension& b) { return a.values.size() > b.values.size(); });
  return all;
}

/// The means of one network over the groups.
struct NetworkMeans {
  std::string name;
  std::map<std::size_t, Spread> by_group;
};

std::vector<NetworkMeans> means_of(const RunSet& set, const Comparison& comparison) {
  std::vector<NetworkMeans> all;
  for (const ComparedRow& row : comparison.rows) {
    std::string name;
    for (const Cell& cell : row.names) name += (name.empty() ? "" : "/") + shown(cell, ColumnType::kText);
    auto found =
        std::find_if(all.begin(), all.end(), [&](const NetworkMeans& network) { return network.name == name; });
    if (found == all.end()) found = all.insert(all.end(), {name, {}});
    found->by_group[row.group] = row.numbers.front().spread;
  }
  // A teacher that all points share depends on nothing.
  std::erase_if(all, [&](const NetworkMeans& network) {
    return network.by_group.size() < set.groups.size() ||
           std::all_of(
               network.by_group.begin(), network.by_group.end(),
               [&](const auto& one) { return one.second.mean == network.by_group.begin()->second.mean; });
  });
  return all;
}

Panel curve_panel(const RunSet& set, const Dimension& x, const std::vector<NetworkMeans>& networks,
                  const std::string& title, double unit) {
  Panel panel{.title = "", .x = {.title = x.name}, .y = {.title = title}, .marks = {}, .height = 0.62, .notes = {}};
  const bool numbers = std::all_of(x.values.begin(), x.values.end(), is_number);
  if (!numbers) panel.x.categories = x.values;
  for (const NetworkMeans& network : networks) {
    std::map<double, Spread> points;
    for (const auto& [group, spread] : network.by_group) {
      const std::string value = value_in(set.groups[group], x.key);
      points[numbers ? std::strtod(value.c_str(), nullptr) : static_cast<double>(x.place(value))] = spread;
    }
    Curve curve{.name = network.name, .x = {}, .y = {}, .spread = {}};
    for (const auto& [place, spread] : points) {
      curve.x.push_back(place);
      curve.y.push_back(spread.mean * unit);
      curve.spread.push_back(std::isfinite(spread.deviation) ? spread.deviation * unit : 0);
    }
    panel.marks.emplace_back(std::move(curve));
  }
  return panel;
}

/// A heat map for every combination of the settings that are no axis.
std::vector<Panel> map_panels(const RunSet& set, const std::vector<Dimension>& dimensions, const NetworkMeans& network,
                              double unit) {
  const Dimension &x = dimensions[0], &y = dimensions[1];
  const double none = std::numeric_limits<double>::quiet_NaN();
  std::map<std::vector<std::string>, HeatMap> maps;
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const auto& [group, spread] : network.by_group) {
    std::vector<std::string> rest;
    for (std::size_t i = 2; i < dimensions.size(); ++i)
      rest.push_back(fmt::format("{} = {}", dimensions[i].name, value_in(set.groups[group], dimensions[i].key)));
    HeatMap& map = maps[rest];
    map.values.resize(y.values.size(), std::vector<double>(x.values.size(), none));
    const double value = spread.mean * unit;
    map.values[y.place(value_in(set.groups[group], y.key))][x.place(value_in(set.groups[group], x.key))] = value;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  std::vector<Panel> panels;
  for (auto& [rest, map] : maps) {
    map.low = low;
    map.high = high;
    std::string title;
    for (const std::string& text : rest) title += (title.empty() ? "" : ", ") + text;
    panels.push_back({.title = title,
                      .x = {.title = x.name, .low = std::nullopt, .high = std::nullopt, .categories = x.values},
                      .y = {.title = y.name, .low = std::nullopt, .high = std::nullopt, .categories = y.values},
                      .marks = {map},
                      .height = 0.7});
  }
  return panels;
}

}  // namespace

std::vector<Figure> sweep_figures(const RunSet& set, const std::string& metric) {
  const std::vector<Dimension> dimensions = dimensions_of(set);
  if (dimensions.empty() || dimensions.size() > 4) return {};
  Comparison comparison = compare(set, {.metrics = {metric}});
  for (ComparedRow& row : comparison.rows)
    row.names.erase(row.names.begin(), row.names.begin() + static_cast<std::ptrdiff_t>(comparison.settings));
  const Column& column = comparison.metrics.front();
  const bool share = column.type == ColumnType::kShare;
  const double unit = share ? 100 : 1;
  const std::string title = (column.title.empty() ? column.name : column.title) + (share ? ", %" : "");
  const std::vector<NetworkMeans> networks = means_of(set, comparison);
  std::vector<Figure> figures;
  if (networks.empty()) return figures;
  if (dimensions.size() == 1) {
    figures.push_back(
        {.name = "sweep_" + metric,
         .title = fmt::format("{} over {}, mean ± standard deviation over seeds", title, dimensions[0].name),
         .panels = {curve_panel(set, dimensions[0], networks, title, unit)}});
    return figures;
  }
  for (const NetworkMeans& network : networks) {
    const std::vector<Panel> panels = map_panels(set, dimensions, network, unit);
    figures.push_back({.name = fmt::format("sweep_{}_{}", metric, figures.size()),
                       .title = fmt::format("{} of {}, mean over seeds", title, network.name),
                       .panels = panels,
                       .columns = std::min<int>(2, static_cast<int>(panels.size()))});
  }
  return figures;
}

}  // namespace kd
