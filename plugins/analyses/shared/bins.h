// The parameters `bins` and `rule` of analyses that measure calibration.
#pragma once

#include "kd/calibration.h"
#include "kd/schema.h"

namespace bins {

/// Declares both for parameters that derive from kd::BinSettings.
template <class Params>
void declare(kd::Schema<Params>& schema) {
  schema.field("bins", &Params::bins, "number of bins of confidence").def(15).range(1, 1000);
  schema
      .choice(
          "rule", static_cast<kd::BinRule Params::*>(&Params::rule),
          {{"equal_width", kd::BinRule::kUpperClosed}, {"floor", kd::BinRule::kFloor}},
          "equal_width: bins (l, u] (Guo et al., 2017); floor: bins [l, u), and a confidence of exactly 1 in single "
          "precision falls in none, as Improved-Distillation-with-Ensemble-of-Calibrated-models has it with 100 bins")
      .def("equal_width");
}

}  // namespace bins
