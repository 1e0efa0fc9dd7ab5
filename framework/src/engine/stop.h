// The wish to stop: set by a signal, seen by the training loop between two steps.
#pragma once

#include "kd/api.h"

namespace kd {

/// From now on, SIGINT and SIGTERM ask the run to stop after the step in hand, and a second one ends the process (code
/// 130).
KD_API void watch_stop_signals();
KD_API bool stop_requested();

}  // namespace kd
