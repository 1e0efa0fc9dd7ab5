// summary.h
#include "engine/summary.h"

#include <fmt/format.h>

#include <algorithm>

#include "report/table_views.h"

namespace kd {
namespace {

/// Whether stage `control` trains the network on labels alone. One that teaches the student is no control of it: what a
/// student gains over its own teacher is another question.
bool is_control(const StagePlan& control, const StageResult& control_result, const StagePlan& student,
                const NetworkResult& network) {
  if (!control.teachers.empty() || control.scheme.type != "supervised" || control_result.networks.size() != 1)
    return false;
  const bool teaches = std::any_of(student.teachers.begin(), student.teachers.end(), [&](const TeacherPlan& teacher) {
    return teacher.run.empty() && teacher.stage == control.name;
  });
  const ComponentSpec &one = control_result.networks[0].model, &other = network.model;
  return !teaches && one.type == other.type && one.parameters == other.parameters;
}

}  // namespace

std::string control_of(std::size_t stage, std::size_t network, const std::vector<StageResult>& results,
                       const ExperimentPlan& plan) {
  const StagePlan& student = plan.stages[stage];
  // What learns from labels alone has nothing to be held against.
  if (student.teachers.empty() && results[stage].networks.size() == 1) return "";
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (i != stage && is_control(plan.stages[i], results[i], student, results[stage].networks[network]))
      return results[i].stage;
  }
  return "";
}

Table summary_table(const std::vector<StageResult>& stages) {
  Table table{.name = "summary",
              .caption = "every network of the run on its test split",
              .columns = {{"stage", ColumnType::kText},
                          {"network", ColumnType::kText},
                          {"parameters", ColumnType::kCount},
                          {"epochs", ColumnType::kCount},
                          {"top1", ColumnType::kShare, "top-1"},
                          {"top5", ColumnType::kShare, "top-5"},
                          {"nll", ColumnType::kNumber, "NLL"}},
              .rows = {}};
  for (const auto& [name, value] : calibration_measures({})) {
    const std::string measure = name;
    const bool shown = measure == "ece" || measure == "oe";
    table.columns.push_back({measure, ColumnType::kNumber,
                             measure == "ece"  ? "ECE"
                             : measure == "oe" ? "OE"
                                               : "",
                             shown});
  }
  table.columns.push_back({"samples", ColumnType::kCount, "", false});
  table.columns.push_back({"seconds", ColumnType::kSeconds});
  for (const StageResult& stage : stages) {
    for (const NetworkResult& network : stage.networks) {
      const ClassificationResult& test = network.test;
      Row row{stage.stage, network.name, network.parameters, stage.epochs, test.top1, test.top5, test.nll};
      for (const auto& [name, value] : calibration_measures(test.calibration)) row.emplace_back(value);
      row.emplace_back(test.samples);
      row.emplace_back(stage.seconds);
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

std::string result_text(const std::vector<StageResult>& stages, const ExperimentPlan& plan) {
  Table table = summary_table(stages);
  auto row = table.rows.begin();
  for (const StageResult& stage : stages) {
    for (std::size_t i = 0; i < stage.networks.size(); ++i, ++row) {
      if (stage.reused) row->back() = "reused";
    }
  }
  std::string text = to_console(table);
  for (std::size_t i = 0; i < stages.size(); ++i) {
    for (std::size_t n = 0; n < stages[i].networks.size(); ++n) {
      const std::string control = control_of(i, n, stages, plan);
      if (control.empty()) continue;
      const auto found =
          std::find_if(stages.begin(), stages.end(), [&](const StageResult& stage) { return stage.stage == control; });
      const double points = 100 * (stages[i].networks[n].test.top1 - found->networks[0].test.top1);
      const std::string network = stages[i].networks.size() > 1 ? "/" + stages[i].networks[n].name : "";
      text += fmt::format("{}{} against {}: {:+.2f} points of top-1\n", stages[i].stage, network, control, points);
    }
  }
  return text;
}

}  // namespace kd
