// Gradual warm-up before another schedule: Goyal et al., "Accurate, Large Minibatch SGD", arXiv 1706.02677, §2.2.
//   schedule = { type = "warmup", from = 0.0, epochs = 5.0 }
#include <cmath>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

class Warmup final : public kd::Schedule {
 public:
  struct Params {
    double from = 0, epochs = 5;
    kd::ComponentSpec then;

    static void schema(kd::Schema<Params>& s) {
      s.field("from", &Params::from, "value of the first step").def(0.0);
      s.field("epochs", &Params::epochs, "length of the warm-up in epochs").def(5.0).above(0);
      s.component(
           "then", &Params::then, "schedule",
           "what follows; without it, constant 1. Its time is that of the stage: it counts the epochs of the warm-up "
           "too, and the line ends at the value it has when the warm-up does")
          .optional();
    }
  };

  explicit Warmup(const Params& params)
      : params_(params), then_(params.then ? kd::make<kd::Schedule>(params.then) : nullptr) {}

  double value(const kd::ScheduleTime& time) const override {
    const double progress = time.epoch() / params_.epochs;
    if (progress >= 1) return value_then(time);
    kd::ScheduleTime end = time;
    end.step = std::llround(std::ceil(params_.epochs * static_cast<double>(time.steps_per_epoch)));
    return params_.from + (value_then(end) - params_.from) * progress;
  }

  void observe(double loss) override {
    if (then_) then_->observe(loss);
  }
  std::vector<double> state() const override { return then_ ? then_->state() : std::vector<double>{}; }
  void restore(const std::vector<double>& state) override {
    if (then_) then_->restore(state);
  }

 private:
  double value_then(const kd::ScheduleTime& time) const { return then_ ? then_->value(time) : 1.0; }

  const Params params_;
  const std::unique_ptr<kd::Schedule> then_;
};

}  // namespace

KD_REGISTER(kd::Schedule, "warmup", Warmup, "a line up to another schedule (Goyal et al., 2017)")
