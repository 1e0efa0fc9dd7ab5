// stop.h
#include "engine/stop.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

#include "kd/diagnostics.h"

namespace kd {
namespace {

std::atomic<int> requests{0};

extern "C" void on_stop_signal(int) {
  if (++requests > 1) ::_exit(static_cast<int>(ExitCode::kInterrupted));
}

}  // namespace

void watch_stop_signals() {
  std::signal(SIGINT, on_stop_signal);
  std::signal(SIGTERM, on_stop_signal);
}

bool stop_requested() { return requests > 0; }

}  // namespace kd
