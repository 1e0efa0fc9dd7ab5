// classification.h
#include "metrics/classification.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace kd {
namespace {

/// Measures of a calibration that files keep, with their names. The accuracy is top-1, and the NLL stands beside it.
struct Measure {
  const char* name;
  double Calibration::*value;
};
constexpr Measure kMeasures[] = {{"ece", &Calibration::ece},
                                 {"adaptive_ece", &Calibration::adaptive_ece},
                                 {"classwise_ece", &Calibration::classwise_ece},
                                 {"mce", &Calibration::mce},
                                 {"oe", &Calibration::oe},
                                 {"brier", &Calibration::brier},
                                 {"entropy", &Calibration::entropy},
                                 {"confidence", &Calibration::confidence}};

nlohmann::ordered_json finite_or_null(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

double number_or_nan(const nlohmann::json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

}  // namespace

ClassificationResult measure_classification(const at::Tensor& logits, const at::Tensor& labels,
                                            const BinSettings& bins) {
  const std::int64_t classes = logits.size(1);
  const at::Tensor label_column = labels.unsqueeze(1);
  const at::Tensor nll = -at::log_softmax(logits.to(at::kFloat), 1).gather(1, label_column).sum(at::kDouble);
  const at::Tensor found = std::get<1>(logits.topk(std::min<std::int64_t>(5, classes), 1)).eq(label_column);
  const at::Tensor first = found.select(1, 0).to(at::kLong);
  const at::Tensor none = at::zeros({classes}, labels.options());
  const at::Tensor counts =
      at::stack({none.scatter_add(0, labels, first), none.scatter_add(0, labels, at::ones_like(labels))}).cpu();
  const at::Tensor sums = at::stack({nll, found.sum().to(at::kDouble)}).cpu();

  ClassificationResult result;
  std::int64_t hits = 0;
  for (std::int64_t c = 0; c < classes; ++c) {
    const std::int64_t hit = counts.const_data_ptr<std::int64_t>()[c];
    const std::int64_t count = counts.const_data_ptr<std::int64_t>()[classes + c];
    hits += hit;
    result.samples += count;
    result.per_class_samples.push_back(count);
    result.per_class.push_back(count == 0 ? std::numeric_limits<double>::quiet_NaN()
                                          : static_cast<double>(hit) / static_cast<double>(count));
  }
  const auto all = static_cast<double>(std::max<std::int64_t>(1, result.samples));
  result.nll = sums.const_data_ptr<double>()[0] / all;
  result.top1 = static_cast<double>(hits) / all;
  result.top5 = sums.const_data_ptr<double>()[1] / all;
  result.calibration = measure_calibration_of_logits(logits, labels, bins);
  return result;
}

std::vector<std::pair<const char*, double>> calibration_measures(const Calibration& calibration) {
  std::vector<std::pair<const char*, double>> measures;
  for (const Measure& measure : kMeasures) measures.emplace_back(measure.name, calibration.*measure.value);
  return measures;
}

nlohmann::ordered_json to_json(const ClassificationResult& result) {
  nlohmann::ordered_json per_class = nlohmann::json::array();
  for (const double share : result.per_class) per_class.push_back(finite_or_null(share));
  nlohmann::ordered_json json{
      {"samples", result.samples}, {"nll", finite_or_null(result.nll)}, {"top1", result.top1}, {"top5", result.top5}};
  for (const auto& [name, value] : calibration_measures(result.calibration)) json[name] = finite_or_null(value);
  json["per_class"] = std::move(per_class);
  json["per_class_samples"] = result.per_class_samples;
  return json;
}

ClassificationResult classification_from_json(const nlohmann::json& json) {
  ClassificationResult result{.samples = json.at("samples"),
                              .nll = number_or_nan(json.at("nll")),
                              .top1 = json.at("top1"),
                              .top5 = json.at("top5"),
                              .per_class = {},
                              .per_class_samples = json.at("per_class_samples"),
                              .calibration = {}};
  result.calibration.samples = result.samples;
  result.calibration.accuracy = result.top1;
  result.calibration.nll = result.nll;
  for (const Measure& measure : kMeasures) result.calibration.*measure.value = number_or_nan(json.at(measure.name));
  for (const auto& share : json.at("per_class")) result.per_class.push_back(number_or_nan(share));
  return result;
}

}  // namespace kd
