// The step schedule of most CIFAR recipes: the learning rate is multiplied by gamma at each milestone.
//   schedule = { type = "multistep", milestones = [150, 180, 210], gamma = 0.1 }
#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

class Multistep final : public kd::Schedule {
 public:
  struct Params {
    std::vector<std::int64_t> milestones;
    double gamma = 0.1;

    static void schema(kd::Schema<Params>& s) {
      s.field("milestones", &Params::milestones, "epochs after which the value drops");
      s.field("gamma", &Params::gamma, "factor of each drop").def(0.1).above(0);
    }
  };

  explicit Multistep(const Params& params) : params_(params) {}

  double value(const kd::ScheduleTime& time) const override {
    double value = 1;
    for (const std::int64_t milestone : params_.milestones) {
      if (time.whole_epoch() >= milestone) value *= params_.gamma;
    }
    return value;
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Schedule, "multistep", Multistep, "drops by a factor at given epochs")
