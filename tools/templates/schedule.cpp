// The schedule "KD_NAME_HERE": exponential decay, the same factor in every epoch.
// Say here what yours computes, and cite the paper that it comes from.
#include "kd/schedule.h"

#include <cmath>

#include "kd/plugin.h"

namespace {

class KdClassHere final : public kd::Schedule {
 public:
  // What recipes can set. Every parameter has its meaning, and a default unless the recipe must give it.
  struct Params {
    double gamma = 0.9;

    static void schema(kd::Schema<Params>& s) {
      s.field("gamma", &Params::gamma, "factor per epoch").def(0.9).above(0).at_most(1);
    }
  };

  explicit KdClassHere(const Params& params) : params_(params) {}

  // Asked before every update. As schedule of an optimizer the value is a factor of the learning rate.
  double value(const kd::ScheduleTime& time) const override { return std::pow(params_.gamma, time.epoch()); }

 private:
  const Params params_;
};

}  // namespace

// Recipes find the class under this name: schedule = { type = "KD_NAME_HERE", gamma = 0.95 }.
KD_REGISTER(kd::Schedule, "KD_NAME_HERE", KdClassHere, "exponential decay")
