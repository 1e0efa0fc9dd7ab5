// How far a stage is in the epochs over which a schedule changes: shared by the schedules "linear" and "rampup".
#pragma once

#include <algorithm>

#include "kd/schedule.h"
#include "kd/schema.h"

namespace progress {

enum class Each { kStep, kEpoch };

struct Params {
  double epochs = 0;
  Each each = Each::kStep;
};

/// Declares `epochs`, whose default the caller adds, and `each`.
template <class P>
kd::FieldBuilder declare(kd::Schema<P>& s) {
  kd::FieldBuilder epochs = s.field("epochs", &P::epochs, "length in epochs; 0: the whole stage");
  epochs.at_least(0);
  s.choice("each", static_cast<Each P::*>(&P::each), {{"step", Each::kStep}, {"epoch", Each::kEpoch}},
           "how often the value changes: at every step, or once an epoch, to what the line reaches at the epoch's end")
      .def("step");
  return epochs;
}

/// From 0 to 1.
inline double at(const Params& params, const kd::ScheduleTime& time) {
  const double epochs = params.epochs > 0 ? params.epochs : static_cast<double>(time.epochs);
  const double passed = params.each == Each::kStep ? time.epoch() : static_cast<double>(time.whole_epoch() + 1);
  return std::min(passed / epochs, 1.0);
}

}  // namespace progress
