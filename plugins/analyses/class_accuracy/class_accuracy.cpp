// Test accuracy of each class for every trained network: a file of the run, and a table for the user.
//   analysis = [{ type = "class_accuracy" }]
#include <ATen/ops/argmax.h>
#include <ATen/ops/bincount.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kd/analysis.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

constexpr std::size_t kMostRowsShown = 20;
constexpr std::ptrdiff_t kShownOfEachEnd = 5;

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

struct ClassRow {
  std::int64_t label = 0;  ///< counted over all stages, whose data may differ in their classes
  std::string name;
  std::int64_t samples = 0;
  std::vector<double> accuracy;  ///< of each network; NaN where the class has no samples
};

ClassRow& find_or_add(std::vector<ClassRow>& rows, const std::string& name, std::size_t networks) {
  for (ClassRow& row : rows) {
    if (row.name == name) return row;
  }
  rows.push_back({static_cast<std::int64_t>(rows.size()), name, 0, std::vector<double>(networks, kNoNumber)});
  return rows.back();
}

std::vector<ClassRow> measure(const std::vector<kd::TrainedModel*>& networks) {
  std::vector<ClassRow> rows;
  for (std::size_t i = 0; i < networks.size(); ++i) {
    const std::vector<std::string>& names = networks[i]->data().class_names;
    const auto classes = static_cast<std::int64_t>(names.size());
    const at::Tensor& labels = networks[i]->labels(kd::Split::kTest);
    const at::Tensor samples = at::bincount(labels, {}, classes);
    const at::Tensor right = networks[i]->logits(kd::Split::kTest).argmax(1).eq(labels).to(at::kDouble);
    const at::Tensor accuracy = at::bincount(labels, right, classes) / samples;
    for (std::int64_t c = 0; c < classes; ++c) {
      ClassRow& row = find_or_add(rows, names[static_cast<std::size_t>(c)], networks.size());
      row.samples = std::max(row.samples, samples.const_data_ptr<std::int64_t>()[c]);
      row.accuracy[i] = accuracy.const_data_ptr<double>()[c];
    }
  }
  return rows;
}

std::vector<ClassRow> select(const std::vector<ClassRow>& rows, const std::vector<std::int64_t>& labels) {
  std::vector<ClassRow> selected;
  for (const std::int64_t label : labels) {
    if (label >= static_cast<std::int64_t>(rows.size())) {
      throw kd::Error("there is no class " + std::to_string(label) + ": the data has " + std::to_string(rows.size()) +
                      " classes, counted from 0");
    }
    selected.push_back(rows[static_cast<std::size_t>(label)]);
  }
  return selected;
}

/// The rows with the lowest and the highest accuracy of the last network, worst first.
std::vector<ClassRow> worst_and_best(std::vector<ClassRow> rows) {
  std::erase_if(rows, [](const ClassRow& row) { return std::isnan(row.accuracy.back()); });
  std::stable_sort(rows.begin(), rows.end(),
                   [](const ClassRow& a, const ClassRow& b) { return a.accuracy.back() < b.accuracy.back(); });
  const auto left_out = static_cast<std::ptrdiff_t>(rows.size()) - 2 * kShownOfEachEnd;
  if (left_out > 0) rows.erase(rows.begin() + kShownOfEachEnd, rows.begin() + kShownOfEachEnd + left_out);
  return rows;
}

/// Unweighted mean over the rows that have samples, for each network.
std::vector<double> mean_accuracy(const std::vector<ClassRow>& rows, std::size_t networks) {
  std::vector<double> means;
  for (std::size_t i = 0; i < networks; ++i) {
    double sum = 0, count = 0;
    for (const ClassRow& row : rows) {
      if (std::isnan(row.accuracy[i])) continue;
      sum += row.accuracy[i];
      ++count;
    }
    means.push_back(count > 0 ? sum / count : kNoNumber);
  }
  return means;
}

kd::Table make_table(const std::vector<ClassRow>& rows, const std::vector<kd::TrainedModel*>& networks) {
  kd::Table table{.name = "class_accuracy",
                  .caption = "test accuracy of each class",
                  .columns = {{"class", kd::ColumnType::kText},
                              {"name", kd::ColumnType::kText},
                              {"samples", kd::ColumnType::kCount}},
                  .rows = {}};
  for (const kd::TrainedModel* network : networks)
    table.columns.push_back({network->name().text(), kd::ColumnType::kShare});
  for (const ClassRow& row : rows) {
    table.rows.push_back({std::to_string(row.label), row.name, row.samples});
    table.rows.back().insert(table.rows.back().end(), row.accuracy.begin(), row.accuracy.end());
  }
  return table;
}

class ClassAccuracy final : public kd::Analysis {
 public:
  struct Params {
    std::vector<std::int64_t> classes;

    static void schema(kd::Schema<Params>& s) {
      s.field("classes", &Params::classes,
              "classes to look at, counted from 0, such as those the student never saw; empty: all. Where it is given, "
              "their mean is shown also")
          .def(std::vector<std::int64_t>{})
          .at_least(0);
    }
  };

  explicit ClassAccuracy(const Params& params) : params_(params) {}

  void run(kd::AnalysisContext& context) override {
    const std::vector<kd::TrainedModel*>& networks = context.networks();
    const std::vector<ClassRow> all = measure(networks);
    const bool restricted = !params_.classes.empty();
    const std::vector<ClassRow> rows = restricted ? select(all, params_.classes) : all;
    kd::Table table = make_table(rows, networks);
    context.keep(table);
    if (rows.size() > kMostRowsShown) {
      table = make_table(worst_and_best(rows), networks);
      table.caption = "test accuracy of the worst and the best classes of " + networks.back()->name().text();
    }
    if (restricted) {
      const std::vector<double> means = mean_accuracy(rows, networks.size());
      table.rows.push_back({"mean", "", {}});
      table.rows.back().insert(table.rows.back().end(), means.begin(), means.end());
    }
    context.show(table);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "class_accuracy", ClassAccuracy, "test accuracy of each class, for every trained network")
