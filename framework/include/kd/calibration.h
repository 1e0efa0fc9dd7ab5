// How well the probabilities of a classifier fit its answers: calibration errors, proper scores, temperature scaling,
// and how closely two networks agree.
//
// Tensors may be on any device and of any floating type; everything is computed in double precision, and the device is
// waited for once, at the end. Rows labelled −1 are left out.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "kd/api.h"
#include "kd/schema.h"

namespace kd {

/// Which of n equally wide bins a confidence falls in. The edges are the doubles nearest to b/n.
enum class BinRule {
  kUpperClosed,  ///< (b/n, (b+1)/n], and 0 in the first (Guo et al., 2017)
  /// ⌊n · confidence⌋, as the code of Improved-Distillation-with-Ensemble-of-Calibrated-models has it: a confidence
  /// that is 1 in single precision falls in no bin, and so adds nothing to an error although it counts as a sample.
  kFloor,
};

struct KD_API BinSettings {
  std::int64_t bins = 15;
  BinRule rule = BinRule::kUpperClosed;
};

/// Declares the parameters `bins` and `rule` of an analysis whose parameters derive from BinSettings.
template <class Params>
void declare_bins(Schema<Params>& s) {
  s.field("bins", &Params::bins, "number of bins of confidence").def(15).range(1, 1000);
  s.choice("rule", static_cast<BinRule Params::*>(&Params::rule),
           {{"equal_width", BinRule::kUpperClosed}, {"floor", BinRule::kFloor}},
           "equal_width: bins (l, u] (Guo et al., 2017); floor: bins [l, u), and a confidence of exactly 1 in single "
           "precision falls in none, as Improved-Distillation-with-Ensemble-of-Calibrated-models has it with 100 bins")
      .def("equal_width");
}

/// The samples whose confidence, the largest probability, is in one range.
struct KD_API CalibrationBin {
  double low = 0, high = 0;
  std::int64_t samples = 0;
  double accuracy = 0, confidence = 0;  ///< means; NaN where the bin is empty
};

/// Shares and errors are in [0, 1]; every mean is over the labelled rows, and NaN where there are none.
struct KD_API Calibration {
  std::int64_t samples = 0;
  double accuracy = 0;
  double confidence = 0;
  double ece = 0;            ///< expected calibration error: Σ_b n_b/n · |accuracy_b − confidence_b|
  double adaptive_ece = 0;   ///< same, with bins of equal counts; equal confidences share a bin
  double classwise_ece = 0;  ///< mean over classes of the ECE of that class's probability
  double mce = 0;            ///< largest |accuracy_b − confidence_b|
  double oe = 0;             ///< overconfidence error: Σ_b n_b/n · confidence_b · max(confidence_b − accuracy_b, 0)
  double nll = 0;            ///< −ln p of the label, in nats
  double brier = 0;          ///< Σ over classes of (p − 1[label])², in [0, 2]
  double entropy = 0;        ///< of the probabilities, in nats
  std::vector<CalibrationBin> bins;  ///< equally wide
};

/// probabilities N×classes, labels int64 N.
KD_API Calibration measure_calibration_of_probabilities(const at::Tensor& probabilities, const at::Tensor& labels,
                                                        const BinSettings& settings = {});
/// logits N×classes, labels int64 N.
KD_API Calibration measure_calibration_of_logits(const at::Tensor& logits, const at::Tensor& labels,
                                                 const BinSettings& settings = {});

/// What dividing logits by one number does to their likelihood.
struct KD_API TemperatureFit {
  double temperature = 1;
  double nll_before = 0, nll_after = 0;  ///< mean −ln p of the label at temperature 1 and at `temperature`
};

/// The temperature in [0.01, 1000] with the lowest NLL on held-out data (Guo et al., 2017), found to rounding error:
/// that NLL is convex in 1/T. It is never worse than T = 1. Waits for the device at every step. Throws kd::Error where
/// no row is labelled.
KD_API TemperatureFit fit_temperature(const at::Tensor& logits, const at::Tensor& labels);

/// How closely a student follows its teacher (Stanton et al., 2021); means over all rows.
struct KD_API Agreement {
  double top1 = 0;  ///< share of equal answers
  double kl = 0;    ///< KL(teacher‖student) at temperature 1, in nats
};

/// Both N×classes, on one device.
KD_API Agreement measure_agreement(const at::Tensor& teacher_logits, const at::Tensor& student_logits);

}  // namespace kd
