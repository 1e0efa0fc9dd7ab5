// metric.h
#include "engine/metric.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "engine/summary.h"
#include "kd/analysis.h"
#include "kd/dataset.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"
#include "record/records.h"

namespace kd {
namespace {

std::vector<std::string> steps_of(const std::string& text) {
  std::vector<std::string> steps;
  std::istringstream stream(text);
  for (std::string step; std::getline(stream, step, '/');) steps.push_back(step);
  return steps;
}

/// What a split is measured by after an epoch.
std::vector<std::string> measures() {
  std::vector<std::string> names;
  for (const Column& column : summary_table({}).columns) {
    if (column.type == ColumnType::kShare || column.type == ColumnType::kNumber) names.push_back(column.name);
  }
  return names;
}

const Record* find_record(const std::vector<Record>& records, const MetricName& metric, std::int64_t epoch) {
  const auto found = std::find_if(records.rbegin(), records.rend(), [&](const Record& record) {
    return record.stage == metric.stage && record.network == metric.network && record.split == metric.split &&
           record.name == metric.name && record.epoch == epoch;
  });
  return found == records.rend() ? nullptr : &*found;
}

/// The first epoch with the highest validation accuracy, summed over the networks of the stage, or the last.
std::int64_t reported_epoch(const std::vector<Record>& records, const std::string& stage) {
  std::map<std::int64_t, double> accuracy;
  std::int64_t last = 0;
  for (const Record& record : records) {
    if (record.stage != stage) continue;
    last = std::max(last, record.epoch);
    if (record.split == "validation" && record.name == "top1") accuracy[record.epoch] += record.value;
  }
  const auto best = std::max_element(accuracy.begin(), accuracy.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return best == accuracy.end() ? last : best->first;
}

}  // namespace

MetricName find_metric(const std::string& text, const ExperimentPlan& plan, const std::filesystem::path& data_root) {
  const std::vector<std::string> steps = steps_of(text);
  if (steps.size() != 3 && steps.size() != 4) {
    throw RecipeError({}, fmt::format("--metric: '{}' names no number", text),
                      "STAGE/SPLIT/NAME or STAGE/NETWORK/SPLIT/NAME, such as student/validation/top1");
  }
  std::vector<NetworkName> networks;
  for (const StagePlan& stage : plan.stages) {
    for (const NetworkPlan& network : stage.networks) networks.push_back({stage.name, network.name});
  }
  const NetworkName& owner = networks[find_network(networks, steps[0], steps.size() == 4 ? steps[1] : "")];
  const MetricName metric{owner.stage, owner.network, steps[steps.size() - 2], steps.back()};
  const std::vector<std::string> splits = {"test", "validation", "train"};
  if (std::find(splits.begin(), splits.end(), metric.split) == splits.end()) {
    throw RecipeError({}, fmt::format("--metric: there is no split '{}'", metric.split),
                      name_hint(metric.split, splits, "splits"));
  }
  const auto stage = std::find_if(plan.stages.begin(), plan.stages.end(),
                                  [&](const StagePlan& one) { return one.name == metric.stage; });
  const bool holds_out = read_parameters<DataSelection>(stage->data.extras).validation > 0;
  if (metric.split == "validation" && !holds_out &&
      !make<DataSet>(stage->data, {.root = data_root})->has(Split::kValidation)) {
    throw RecipeError({}, fmt::format("--metric: stage '{}' has no validation split", metric.stage),
                      "data.validation = 5000 holds images out of training");
  }
  const std::vector<std::string> known =
      metric.split == "train" ? std::vector<std::string>{"loss", "top1"} : measures();
  const bool is_part = metric.split == "train" && metric.name.starts_with("loss/");
  if (!is_part && std::find(known.begin(), known.end(), metric.name) == known.end()) {
    throw RecipeError({}, fmt::format("--metric: there is no measure '{}' of the split {}", metric.name, metric.split),
                      name_hint(metric.name, known, "measures"));
  }
  return metric;
}

double read_metric(const MetricName& metric, const RunResult& result) {
  if (metric.split == "test") {
    const Table table = summary_table(result.stages);
    for (const Row& row : table.rows) {
      if (row[0] != Cell(metric.stage) || row[1] != Cell(metric.network)) continue;
      for (std::size_t c = 0; c < row.size(); ++c) {
        if (table.columns[c].name == metric.name) return row[c].number();
      }
    }
  }
  const std::vector<Record> records = read_records(result.folder / "metrics.jsonl");
  const Record* found = find_record(records, metric, reported_epoch(records, metric.stage));
  if (found == nullptr) {
    throw Error(fmt::format("--metric: the run recorded no '{}' of {}/{} on the {} split", metric.name, metric.stage,
                            metric.network, metric.split));
  }
  return found->value;
}

}  // namespace kd
