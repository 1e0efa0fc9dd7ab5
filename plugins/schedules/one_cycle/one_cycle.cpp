// One cycle over the whole stage: Smith and Topin, "Super-Convergence", arXiv 1708.07120, in the cosine form of
// torch.optim.lr_scheduler.OneCycleLR. The declared learning rate is the maximum.
//   schedule = { type = "one_cycle", pct_start = 0.3 }
#include <algorithm>
#include <cmath>
#include <numbers>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

/// Half a cosine from `from` to `to`.
double anneal(double from, double to, double progress) {
  return to + (from - to) * (1 + std::cos(std::numbers::pi * progress)) / 2;
}

class OneCycle final : public kd::Schedule {
 public:
  struct Params {
    double pct_start = 0.3, div_factor = 25, final_div_factor = 1e4;

    static void schema(kd::Schema<Params>& s) {
      s.field("pct_start", &Params::pct_start, "share of the steps in which the value rises").def(0.3).range(0, 1);
      s.field("div_factor", &Params::div_factor, "the first value is 1/div_factor").def(25.0).above(0);
      s.field("final_div_factor", &Params::final_div_factor, "the last value is the first divided by this")
          .def(1e4)
          .above(0);
    }
  };

  explicit OneCycle(const Params& params) : params_(params) {}

  double value(const kd::ScheduleTime& time) const override {
    const auto steps = static_cast<double>(time.steps_per_epoch * time.epochs);
    const auto step = static_cast<double>(time.step);
    const double first = 1 / params_.div_factor;
    const double last_step = steps - 1;
    const double peak_step = params_.pct_start * steps - 1;
    if (step < peak_step) return anneal(first, 1, step / peak_step);
    if (last_step <= peak_step) return 1;
    return anneal(1, first / params_.final_div_factor, std::min((step - peak_step) / (last_step - peak_step), 1.0));
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Schedule, "one_cycle", OneCycle, "up and down once over the stage (Smith and Topin, 2018)")
