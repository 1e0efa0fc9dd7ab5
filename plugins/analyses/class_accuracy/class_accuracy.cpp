// Test accuracy of each class for every trained network: a file of the run, and a table for the user.
#include <ATen/TensorOperators.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/bincount.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "../shared/tables.h"
#include "kd/analysis.h"
#include "kd/plugin.h"

namespace {

constexpr std::size_t kMostRowsShown = 20;
constexpr std::ptrdiff_t kShownOfEachEnd = 5;

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

struct ClassRow {
  std::int64_t label = 0;  ///< counted over all stages, whose data may differ in their classes
  std::string name;
  std::int64_t samples = 0;
  std::vector<double> percent;  ///< of each network; NaN where the class has no samples
};

ClassRow& find_or_add(std::vector<ClassRow>& rows, const std::string& name, std::size_t networks) {
  for (ClassRow& row : rows) {
    if (row.name == name) return row;
  }
  rows.push_back({static_cast<std::int64_t>(rows.size()), name, 0, std::vector<double>(networks, kNoNumber)});
  return rows.back();
}

std::vector<ClassRow> measure(const std::vector<kd::AnalysedNetwork>& networks) {
  std::vector<ClassRow> rows;
  for (std::size_t i = 0; i < networks.size(); ++i) {
    const kd::AnalysedNetwork& network = networks[i];
    const auto classes = static_cast<std::int64_t>(network.class_names.size());
    const at::Tensor samples = at::bincount(network.test_labels, {}, classes);
    const at::Tensor right = network.test_logits.argmax(1).eq(network.test_labels).to(at::kDouble);
    const at::Tensor percent = at::bincount(network.test_labels, right, classes) / samples * 100;
    for (std::int64_t c = 0; c < classes; ++c) {
      ClassRow& row = find_or_add(rows, network.class_names[static_cast<std::size_t>(c)], networks.size());
      row.samples = std::max(row.samples, samples.const_data_ptr<std::int64_t>()[c]);
      row.percent[i] = percent.const_data_ptr<double>()[c];
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
  std::erase_if(rows, [](const ClassRow& row) { return std::isnan(row.percent.back()); });
  std::stable_sort(rows.begin(), rows.end(),
                   [](const ClassRow& a, const ClassRow& b) { return a.percent.back() < b.percent.back(); });
  const auto left_out = static_cast<std::ptrdiff_t>(rows.size()) - 2 * kShownOfEachEnd;
  if (left_out > 0) rows.erase(rows.begin() + kShownOfEachEnd, rows.begin() + kShownOfEachEnd + left_out);
  return rows;
}

/// Unweighted mean over the rows that have samples, for each network.
std::vector<double> mean_percent(const std::vector<ClassRow>& rows, std::size_t networks) {
  std::vector<double> means;
  for (std::size_t i = 0; i < networks; ++i) {
    double sum = 0, count = 0;
    for (const ClassRow& row : rows) {
      if (std::isnan(row.percent[i])) continue;
      sum += row.percent[i];
      ++count;
    }
    means.push_back(count > 0 ? sum / count : kNoNumber);
  }
  return means;
}

std::vector<std::string> column_names(const std::vector<kd::AnalysedNetwork>& networks) {
  std::vector<std::string> names;
  for (const kd::AnalysedNetwork& network : networks) names.push_back(network.stage + "/" + network.network);
  return names;
}

tables::Line header(const std::vector<std::string>& columns) {
  tables::Line line{"class", "name", "samples"};
  line.insert(line.end(), columns.begin(), columns.end());
  return line;
}

/// `unit` is what one percent counts for.
tables::Line line_of(const ClassRow& row, double unit, int decimals, const std::string& if_none) {
  tables::Line line{std::to_string(row.label), row.name, std::to_string(row.samples)};
  for (const double percent : row.percent) line.push_back(tables::format_number(percent * unit, decimals, if_none));
  return line;
}

/// Shares in [0, 1], as every file of a run has them.
std::string csv(const std::vector<ClassRow>& rows, const std::vector<std::string>& columns) {
  std::vector<tables::Line> lines{header(columns)};
  for (const ClassRow& row : rows) lines.push_back(line_of(row, 0.01, 6, ""));
  return tables::csv(lines, 2);
}

std::string table(const std::vector<ClassRow>& rows, const std::vector<std::string>& columns,
                  const std::vector<double>& means) {
  std::vector<tables::Line> lines{header(columns)};
  for (const ClassRow& row : rows) lines.push_back(line_of(row, 1, 2, "-"));
  if (!means.empty()) {
    tables::Line last{"mean", "", ""};
    for (const double percent : means) last.push_back(tables::format_number(percent, 2, "-"));
    lines.push_back(std::move(last));
  }
  return tables::align(lines, /*left=*/1);
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
    const std::vector<ClassRow> all = measure(context.networks());
    const std::vector<std::string> columns = column_names(context.networks());
    const bool restricted = !params_.classes.empty();
    const std::vector<ClassRow> rows = restricted ? select(all, params_.classes) : all;
    context.write("class_accuracy.csv", csv(rows, columns));
    const std::vector<double> means = restricted ? mean_percent(rows, columns.size()) : std::vector<double>{};
    if (rows.size() <= kMostRowsShown) {
      context.print("test accuracy of each class, in percent" + table(rows, columns, means));
    } else {
      context.print("test accuracy of the worst and the best classes of " + columns.back() + ", in percent" +
                    table(worst_and_best(rows), columns, means));
    }
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Analysis, "class_accuracy", ClassAccuracy, "test accuracy of each class, for every trained network")
