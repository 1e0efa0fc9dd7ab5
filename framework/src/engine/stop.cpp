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
  struct sigaction action{};
  action.sa_handler = on_stop_signal;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before{};
    // nohup ignores SIGHUP, and a shell ignores SIGINT for what it starts in the background: so it stays.
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
    ::sigaction(signal, &action, nullptr);
  }
}

bool stop_requested() { return requests > 0; }

void throw_if_stopped(const std::string& during) {
  if (!stop_requested()) return;
  throw Error("stopped " + during + "; the same command goes on from there", ExitCode::kResumable);
}

}  // namespace kd
