// A loss that grows over the first epochs, as the tables of published results have several.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kd/schedule.h"
#include "kd/schema.h"

namespace kd {

/// Declares the parameter `warmup` of a loss, epochs.
template <class Params>
FieldBuilder declare_warmup(Schema<Params>& schema, std::int64_t Params::* member) {
  return schema.field(
      "warmup", member,
      "epochs over which the value grows: in epoch e = 1, 2, … it is multiplied by min(e/warmup, 1); 0 for none");
}

/// What the value is multiplied by.
inline double warmup_factor(std::int64_t warmup, const ScheduleTime& time) {
  if (warmup == 0) return 1;
  return std::min(static_cast<double>(time.whole_epoch() + 1) / static_cast<double>(warmup), 1.0);
}

}  // namespace kd
