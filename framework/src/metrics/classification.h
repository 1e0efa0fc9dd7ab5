// How well a classifier does on a split: what tables, records and result files hold of an evaluation.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "kd/api.h"
#include "kd/calibration.h"

namespace kd {

struct KD_API ClassificationResult {
  std::int64_t samples = 0;
  double nll = 0;                 ///< mean −ln p of the label, in nats
  double top1 = 0;                ///< share in [0, 1]
  double top5 = 0;                ///< share in [0, 1]; equals 1 below six classes
  std::vector<double> per_class;  ///< top-1 share of each class; NaN for a class without samples
  std::vector<std::int64_t> per_class_samples;
  Calibration calibration;
};

/// logits N×classes, labels int64 N, both on one device. Waits for the device.
KD_API ClassificationResult measure_classification(const at::Tensor& logits, const at::Tensor& labels,
                                                   const BinSettings& bins = {});

/// The measures of calibration by the names that they have in tables and files, in order.
KD_API std::vector<std::pair<const char*, double>> calibration_measures(const Calibration& calibration);

/// As it stands in result.json and state.json; a number that is not finite becomes null. Of the bins nothing is kept.
KD_API nlohmann::ordered_json to_json(const ClassificationResult& result);
KD_API ClassificationResult classification_from_json(const nlohmann::json& json);

}  // namespace kd
