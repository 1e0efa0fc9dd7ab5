// Accuracy and likelihood of a classifier, gathered on the device and read once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "kd/api.h"

namespace kd {

struct KD_API ClassificationResult {
  std::int64_t samples = 0;
  double nll = 0;                 ///< mean −ln p of the label, in nats
  double top1 = 0;                ///< share in [0, 1]
  double top5 = 0;                ///< share in [0, 1]; equals 1 below six classes
  std::vector<double> per_class;  ///< top-1 share of each class; NaN for a class without samples
  std::vector<std::int64_t> per_class_samples;
};

/// As it stands in result.json and state.json; a number that is not finite becomes null.
KD_API nlohmann::ordered_json to_json(const ClassificationResult& result);
KD_API ClassificationResult classification_from_json(const nlohmann::json& json);

class KD_API ClassificationMeter {
 public:
  ClassificationMeter(std::int64_t classes, at::Device device);

  /// logits N×classes, labels int64 N, both on the device. Starts no synchronisation.
  void add(const at::Tensor& logits, const at::Tensor& labels);
  /// Waits for the device.
  ClassificationResult result() const;

 private:
  std::int64_t classes_;
  at::Tensor sums_;     // double: Σ nll, top-1 hits, top-5 hits
  at::Tensor hits_;     // int64, classes
  at::Tensor samples_;  // int64, classes
};

}  // namespace kd
