// Half a cosine from one value to another: Loshchilov and Hutter, "SGDR", arXiv 1608.03983, without restarts.
//   schedule = { type = "cosine" }
#include <algorithm>
#include <cmath>
#include <numbers>

#include "kd/plugin.h"
#include "kd/schedule.h"

namespace {

enum class Per { kStep, kEpoch };

class Cosine final : public kd::Schedule {
 public:
  struct Params {
    double from = 1, to = 0, epochs = 0;
    Per per = Per::kStep;

    static void schema(kd::Schema<Params>& s) {
      s.field("from", &Params::from, "value at the start").def(1.0);
      s.field("to", &Params::to, "value at the end, and afterwards").def(0.0);
      s.field("epochs", &Params::epochs, "length in epochs; 0: the whole stage").def(0.0).at_least(0);
      s.choice("per", &Params::per, {{"step", Per::kStep}, {"epoch", Per::kEpoch}}, "how often the value changes")
          .def("step");
    }
  };

  explicit Cosine(const Params& params) : params_(params) {}

  double value(const kd::ScheduleTime& time) const override {
    const double epochs = params_.epochs > 0 ? params_.epochs : static_cast<double>(time.epochs);
    const double epoch = params_.per == Per::kEpoch ? static_cast<double>(time.whole_epoch()) : time.epoch();
    const double progress = std::min(epoch / epochs, 1.0);
    return params_.to + (params_.from - params_.to) * (1 + std::cos(std::numbers::pi * progress)) / 2;
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Schedule, "cosine", Cosine, "half a cosine from one value to another (Loshchilov and Hutter, 2017)")
