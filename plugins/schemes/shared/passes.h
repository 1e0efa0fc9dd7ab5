// What schemes with several loss lists do with a network's outputs: parts of their rows, and the input of a loss.
#pragma once

#include <cstdint>

#include "kd/scheme.h"

namespace passes {

/// `change` of the logits and of every tap in `taps`.
template <class Change>
kd::Outputs changed(const kd::Outputs& outputs, const kd::TapRequest& taps, const Change& change) {
  kd::Outputs result{.logits = change(outputs.logits), .taps = kd::Taps(taps)};
  for (const std::string& tap : taps) result.taps.offer(tap, change(outputs.taps.at(tap)));
  return result;
}

inline kd::Outputs rows(const kd::Outputs& outputs, const kd::TapRequest& taps, std::int64_t begin,
                        std::int64_t count) {
  return changed(outputs, taps, [&](const at::Tensor& all) { return all.narrow(0, begin, count); });
}

inline kd::Outputs detached(const kd::Outputs& outputs, const kd::TapRequest& taps) {
  return changed(outputs, taps, [](const at::Tensor& one) { return one.detach(); });
}

/// What a loss sees of a pass.
inline kd::LossInput input(const kd::Pass& pass, const kd::Batch& batch, const kd::ScheduleTime& time) {
  return {.student = pass.outputs,
          .teacher = nullptr,
          .targets = batch.targets,
          .index = batch.index,
          .time = time,
          .views = pass.views};
}

}  // namespace passes
