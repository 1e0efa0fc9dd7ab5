// Drops when the evaluated loss no longer falls, as torch.optim.lr_scheduler.ReduceLROnPlateau does (mode "min",
// relative threshold).
//   schedule = { type = "plateau", factor = 0.1, patience = 10, threshold = 0.0001 }
#include <algorithm>
#include <limits>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

class Plateau final : public kd::Schedule {
 public:
  struct Params {
    double factor = 0.1, threshold = 1e-4, min_factor = 0;
    std::int64_t patience = 10, cooldown = 0;

    static void schema(kd::Schema<Params>& s) {
      s.field("factor", &Params::factor, "factor of each drop").def(0.1).above(0).below(1);
      s.field("patience", &Params::patience, "evaluations in a row without a better loss that are borne before a drop")
          .def(10)
          .at_least(0);
      s.field("threshold", &Params::threshold, "a loss is better if it is below (1 − threshold) times the best")
          .def(1e-4)
          .at_least(0)
          .below(1);
      s.field("cooldown", &Params::cooldown, "evaluations after a drop that are not counted").def(0).at_least(0);
      s.field("min_factor", &Params::min_factor, "the value never falls below this").def(0.0).range(0, 1);
    }
  };

  explicit Plateau(const Params& params) : params_(params) {}

  double value(const kd::ScheduleTime& /*time*/) const override { return value_; }

  void observe(double loss) override {
    if (loss < best_ * (1 - params_.threshold)) {
      best_ = loss;
      bad_evaluations_ = 0;
    } else {
      ++bad_evaluations_;
    }
    if (cooldown_left_ > 0) {
      --cooldown_left_;
      bad_evaluations_ = 0;
    }
    if (bad_evaluations_ > params_.patience) {
      value_ = std::max(value_ * params_.factor, params_.min_factor);
      cooldown_left_ = params_.cooldown;
      bad_evaluations_ = 0;
    }
  }

  std::vector<double> state() const override {
    return {value_, best_, static_cast<double>(bad_evaluations_), static_cast<double>(cooldown_left_)};
  }

  void restore(const std::vector<double>& state) override {
    if (state.size() != 4)
      throw kd::FileError("the state of a plateau schedule has 4 numbers, not " + std::to_string(state.size()));
    value_ = state[0];
    best_ = state[1];
    bad_evaluations_ = static_cast<std::int64_t>(state[2]);
    cooldown_left_ = static_cast<std::int64_t>(state[3]);
  }

 private:
  const Params params_;
  double value_ = 1;
  double best_ = std::numeric_limits<double>::max();  // finite, so that every file format can hold it
  std::int64_t bad_evaluations_ = 0;
  std::int64_t cooldown_left_ = 0;
};

}  // namespace

KD_REGISTER(kd::Schedule, "plateau", Plateau, "drops when the evaluated loss no longer falls")
