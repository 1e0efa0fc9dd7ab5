// What the tests of analyses share: networks with given answers, and a context that keeps what an analysis leaves.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kd/analysis.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"

namespace kd::testing {

/// A network that has answered already. What runs it is what a test gives it.
class FakeModel final : public TrainedModel {
 public:
  FakeModel(NetworkName name, const at::Tensor& test_logits, const at::Tensor& test_labels) : name_(std::move(name)) {
    data_.class_names = std::vector<std::string>(static_cast<std::size_t>(test_logits.size(1)), "c");
    answers[Split::kTest] = test_logits;
    truths[Split::kTest] = test_labels;
  }

  const NetworkName& name() const override { return name_; }
  const DataInfo& data() override { return data_; }
  bool has(Split split) override { return answers.contains(split); }
  const at::Tensor& labels(Split split) override { return truths.at(split); }
  const at::Tensor& logits(Split split) override { return answers.at(split); }
  at::Tensor pixels(Split /*split*/, std::int64_t begin, std::int64_t count) override {
    const std::int64_t first = std::min(begin, pictures.size(0));
    return pictures.narrow(0, first, std::min(count, pictures.size(0) - first));
  }
  at::Tensor seen(const at::Tensor& pixels) override { return (pixels - mean) / deviation; }
  std::vector<std::string> tap_names() override {
    std::vector<std::string> names;
    for (const auto& [name, feature] : taps) names.push_back(name);
    return names;
  }
  at::Tensor features(Split /*split*/, const std::string& tap, std::int64_t most) override {
    if (!taps.contains(tap)) throw RecipeError({}, name_.text() + " has no feature '" + tap + "'");
    return taps.at(tap).narrow(0, 0, std::min(most, taps.at(tap).size(0)));
  }
  at::Tensor compute_logits(Split split, std::int64_t most) override {
    const std::int64_t count = std::min(most, truths.at(split).size(0));
    return forward(images(split, 0, count)).logits;
  }
  Outputs forward(const at::Tensor& images, const TapRequest& /*taps*/ = {},
                  Gradient /*gradient*/ = Gradient::kNone) override {
    return {.logits = run(images), .taps = {}, .network = this};
  }
  std::vector<NamedParameter> weights() override { return parameters; }
  std::vector<NamedParameter> statistics() override { return running; }
  void estimate_statistics(Split split, std::int64_t most) override { estimate(split, most); }
  at::Tensor head(const at::Tensor& feature, const std::string& /*tap*/) override { return feature; }

  std::map<Split, at::Tensor> answers, truths;
  at::Tensor pictures;               ///< pixels
  double mean = 0, deviation = 1;    ///< with which they are normalised
  std::map<std::string, at::Tensor> taps;
  std::vector<NamedParameter> parameters, running;
  std::function<at::Tensor(const at::Tensor&)> run;
  std::function<void(Split, std::int64_t)> estimate = [](Split, std::int64_t) {};
  DataInfo data_;

 private:
  const NetworkName name_;
};

class FakeAnalysisContext : public AnalysisContext {
 public:
  const std::vector<TrainedModel*>& networks() override { return networks_; }
  TrainedModel& load(const std::string& run, const std::string& stage, const std::string& network) override {
    for (FakeModel& one : other_runs.at(run)) {
      if (one.name().stage == stage && (network.empty() || one.name().network == network)) return one;
    }
    throw FileError(run + " holds no such network");
  }
  RandomKey key() const override { return RandomKey{}.with("analysis"); }
  void keep(const Table& table) override { tables[table.name] = table; }
  void show(const Table& table) override { shown.push_back(table); }
  void figure(const Figure& figure) override { figures[figure.name] = figure; }
  void print(const std::string& text) override { printed += text + "\n"; }

  FakeModel& add(const std::string& stage, const std::string& network, const at::Tensor& test_logits,
                 const std::vector<std::int64_t>& test_labels) {
    models_.emplace_back(NetworkName{stage, network}, test_logits, at::tensor(test_labels, at::kLong));
    networks_.push_back(&models_.back());
    return models_.back();
  }
  /// Checks and runs the analysis of this TOML.
  void analyse(const std::string& toml) {
    load_plugins();
    const auto analysis = kd::make<Analysis>(toml);
    std::vector<NetworkName> names;
    for (const TrainedModel* one : networks()) names.push_back(one->name());
    analysis->check(names);
    analysis->run(*this);
  }
  /// The message that the analysis is refused with, or "".
  std::string refusal(const std::string& toml) {
    try {
      analyse(toml);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  std::map<std::string, std::deque<FakeModel>> other_runs;  ///< by run folder
  std::map<std::string, Table> tables;                      ///< that were kept
  std::vector<Table> shown;
  std::map<std::string, Figure> figures;
  std::string printed;

 private:
  std::deque<FakeModel> models_;
  std::vector<TrainedModel*> networks_;
};

inline std::vector<std::string> column_names(const Table& table) {
  std::vector<std::string> names;
  for (const Column& column : table.columns) names.push_back(column.name);
  return names;
}

/// The number in a row under the column `name`.
inline double number(const Table& table, std::size_t row, const std::string& name) {
  const std::vector<std::string> names = column_names(table);
  const auto place = std::find(names.begin(), names.end(), name);
  if (place == names.end() || row >= table.rows.size()) throw Error("the table has no such cell: " + name);
  return table.rows[row][static_cast<std::size_t>(place - names.begin())].number();
}

}  // namespace kd::testing
