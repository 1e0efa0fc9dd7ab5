// The ramp-up of a weight: Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, arXiv
// 1610.02242; over 80 epochs, once an epoch, in "Knowledge Distillation by On-the-Fly Native Ensemble", NeurIPS 2018.
//   weight = { type = "rampup", to = 1.0, epochs = 80 }
#include <cmath>

#include "../shared/progress.h"
#include "kd/plugin.h"

namespace {

class Rampup final : public kd::Schedule {
 public:
  struct Params : progress::Params {
    double to = 1;

    static void schema(kd::Schema<Params>& s) {
      s.field("to", &Params::to, "value at the end, and afterwards").def(1.0);
      progress::declare(s).def(80.0);
    }
  };

  explicit Rampup(const Params& params) : params_(params) {}

  /// to · exp(−5·(1 − e/n)²)
  double value(const kd::ScheduleTime& time) const override {
    const double left = 1 - progress::at(params_, time);
    return params_.to * std::exp(-5 * left * left);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Schedule, "rampup", Rampup, "a Gaussian's rise from nearly nothing to a value (Laine and Aila, 2017)")
