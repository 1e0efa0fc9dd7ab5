// A straight line from one value to another. By epochs it is the warm-up of weights that published code has: min(e/n,
// 1) in epoch e = 1, 2, …
//   weight = { type = "linear", from = 0, to = 1, epochs = 20, each = "epoch" }
#include "../shared/progress.h"
#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

class Linear final : public kd::Schedule {
 public:
  struct Params : progress::Params {
    double from = 1, to = 0;

    static void schema(kd::Schema<Params>& s) {
      s.field("from", &Params::from, "value at the start").def(1.0);
      s.field("to", &Params::to, "value at the end, and afterwards").def(0.0);
      progress::declare(s).def(0.0);
    }
  };

  explicit Linear(const Params& params) : params_(params) {}

  double value(const kd::ScheduleTime& time) const override {
    return params_.from + (params_.to - params_.from) * progress::at(params_, time);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Schedule, "linear", Linear, "a straight line from one value to another")
