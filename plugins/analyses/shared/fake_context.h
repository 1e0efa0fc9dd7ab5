// What tests of analyses share: a context that keeps what it is given, and a look at the CSV it was given.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "kd/analysis.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"

namespace analysis_checks {

class FakeContext : public kd::AnalysisContext {
 public:
  const std::vector<kd::AnalysedNetwork>& networks() const override { return networks_; }
  kd::AnalysedNetwork load(const std::string& run, const std::string& stage, const std::string& network) override {
    for (const kd::AnalysedNetwork& one : other_runs.at(run)) {
      if (one.stage == stage && (network.empty() || one.network == network)) return one;
    }
    throw kd::FileError(run + " holds no such network");
  }
  void write(const std::string& file_name, const std::string& text) override { files[file_name] = text; }
  void print(const std::string& text) override { printed += text + "\n"; }

  kd::AnalysedNetwork& add(const std::string& stage, const std::string& network, const at::Tensor& test_logits,
                           const std::vector<std::int64_t>& test_labels) {
    networks_.push_back({.stage = stage,
                         .network = network,
                         .class_names = std::vector<std::string>(static_cast<std::size_t>(test_logits.size(1)), "c"),
                         .test_logits = test_logits,
                         .test_labels = at::tensor(test_labels, at::kLong),
                         .validation_logits = {},
                         .validation_labels = {}});
    return networks_.back();
  }

  std::map<std::string, std::vector<kd::AnalysedNetwork>> other_runs;  ///< by run folder
  std::map<std::string, std::string> files;
  std::string printed;

 private:
  std::vector<kd::AnalysedNetwork> networks_;
};

/// Lines and fields of a CSV without quoted fields.
inline std::vector<std::vector<std::string>> split_csv(const std::string& text) {
  std::vector<std::vector<std::string>> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    lines.emplace_back(1);
    bool inside = false;
    for (const char c : line) {
      if (c == '"') {
        inside = !inside;
      } else if (c == ',' && !inside) {
        lines.back().emplace_back();
      } else {
        lines.back().back() += c;
      }
    }
  }
  return lines;
}

}  // namespace analysis_checks
