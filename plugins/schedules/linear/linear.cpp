// A straight line from one value to another, changed at every step.
//   weight = { type = "linear", from = 0, to = 1, epochs = 20 }
#include <algorithm>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

class Linear final : public kd::Schedule {
 public:
  struct Params {
    double from = 1, to = 0, epochs = 0;

    static void schema(kd::Schema<Params>& s) {
      s.field("from", &Params::from, "value at the start").def(1.0);
      s.field("to", &Params::to, "value at the end, and afterwards").def(0.0);
      s.field("epochs", &Params::epochs, "length in epochs; 0: the whole stage").def(0.0).at_least(0);
    }
  };

  explicit Linear(const Params& params) : params_(params) {}

  double value(const kd::ScheduleTime& time) const override {
    const double epochs = params_.epochs > 0 ? params_.epochs : static_cast<double>(time.epochs);
    const double progress = std::min(time.epoch() / epochs, 1.0);
    return params_.from + (params_.to - params_.from) * progress;
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Schedule, "linear", Linear, "a straight line from one value to another")
