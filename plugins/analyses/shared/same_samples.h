// Which networks can be compared sample by sample.
#pragma once

#include "kd/analysis.h"

namespace kd::analyses {

/// Stages may differ in their classes and their samples, and then there is nothing to compare.
inline bool have_same_samples(TrainedModel& one, TrainedModel& other, Split split) {
  return one.has(split) && other.has(split) && one.data().class_names == other.data().class_names &&
         one.labels(split).equal(other.labels(split));
}

}  // namespace kd::analyses
