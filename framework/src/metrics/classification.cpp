// classification.h
#include "metrics/classification.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace kd {

ClassificationMeter::ClassificationMeter(std::int64_t classes, at::Device device)
    : classes_(classes),
      sums_(at::zeros({3}, at::TensorOptions().dtype(at::kDouble).device(device))),
      hits_(at::zeros({classes}, at::TensorOptions().dtype(at::kLong).device(device))),
      samples_(at::zeros_like(hits_)) {}

void ClassificationMeter::add(const at::Tensor& logits, const at::Tensor& labels) {
  const at::Tensor rows = logits.to(at::kFloat);
  const at::Tensor label_column = labels.unsqueeze(1);
  const at::Tensor nll = -at::log_softmax(rows, 1).gather(1, label_column).sum(at::kDouble);
  const at::Tensor best = std::get<1>(rows.topk(std::min<std::int64_t>(5, classes_), 1));
  const at::Tensor found = best.eq(label_column);
  const at::Tensor first = found.select(1, 0).to(at::kLong);
  sums_ += at::stack({nll, first.sum().to(at::kDouble), found.sum().to(at::kDouble)});
  hits_.scatter_add_(0, labels, first);
  samples_.scatter_add_(0, labels, at::ones_like(labels));
}

ClassificationResult ClassificationMeter::result() const {
  const at::Tensor sums = sums_.cpu();
  const at::Tensor hits = hits_.cpu();
  const at::Tensor samples = samples_.cpu();
  ClassificationResult result;
  for (std::int64_t c = 0; c < classes_; ++c) {
    const std::int64_t count = samples.const_data_ptr<std::int64_t>()[c];
    const auto hit = static_cast<double>(hits.const_data_ptr<std::int64_t>()[c]);
    result.samples += count;
    result.per_class_samples.push_back(count);
    result.per_class.push_back(count == 0 ? std::numeric_limits<double>::quiet_NaN()
                                          : hit / static_cast<double>(count));
  }
  const double* sum = sums.const_data_ptr<double>();
  const auto all = static_cast<double>(std::max<std::int64_t>(1, result.samples));
  result.nll = sum[0] / all;
  result.top1 = sum[1] / all;
  result.top5 = sum[2] / all;
  return result;
}

nlohmann::ordered_json to_json(const ClassificationResult& result) {
  nlohmann::ordered_json per_class = nlohmann::json::array();
  for (const double share : result.per_class)
    per_class.push_back(std::isfinite(share) ? nlohmann::ordered_json(share) : nlohmann::ordered_json(nullptr));
  return {{"samples", result.samples},
          {"nll", std::isfinite(result.nll) ? nlohmann::ordered_json(result.nll) : nlohmann::ordered_json(nullptr)},
          {"top1", result.top1},
          {"top5", result.top5},
          {"per_class", std::move(per_class)},
          {"per_class_samples", result.per_class_samples}};
}

ClassificationResult classification_from_json(const nlohmann::json& json) {
  const auto number = [](const nlohmann::json& value) { return value.is_null() ? std::nan("") : value.get<double>(); };
  ClassificationResult result{.samples = json.at("samples"),
                              .nll = number(json.at("nll")),
                              .top1 = json.at("top1"),
                              .top5 = json.at("top5"),
                              .per_class = {},
                              .per_class_samples = json.at("per_class_samples")};
  for (const auto& share : json.at("per_class")) result.per_class.push_back(number(share));
  return result;
}

}  // namespace kd
