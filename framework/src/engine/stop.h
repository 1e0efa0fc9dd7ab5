// The wish to stop: set by a signal, seen by the training loop between two steps.
#pragma once

#include <string>

#include "kd/api.h"

namespace kd {

/// From now on, SIGINT, SIGTERM and SIGHUP ask the run to stop after the step in hand, and a second one ends the
/// process (code 130). A signal that is ignored, as under nohup, stays ignored.
KD_API void watch_stop_signals();
KD_API bool stop_requested();
/// Throws Error with ExitCode::kResumable where a stop was asked for; `during` says what is left, as "while waiting".
KD_API void throw_if_stopped(const std::string& during);

}  // namespace kd
