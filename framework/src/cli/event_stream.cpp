// event_stream.h
#include "cli/event_stream.h"

#include <fmt/format.h>

#include <cstdio>

namespace kd::cli {
namespace {

constexpr auto kBetweenSteps = std::chrono::milliseconds(500);

/// Whoever watches and has gone is no reason to end a run.
void write_event(const nlohmann::ordered_json& event) {
  const std::string line = event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

void EventStream::step(const StepProgress& progress) {
  inner_.step(progress);
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ < kBetweenSteps) return;
  last_ = now;
  write_event({{"event", "step"},
               {"stage", progress.stage},
               {"epoch", progress.epoch},
               {"epochs", progress.epochs},
               {"batch", progress.batch},
               {"batches", progress.batches},
               {"images_per_second", progress.images_per_second},
               {"seconds_left", progress.seconds_left}});
}

void EventStream::epoch(const EpochSummary& summary) {
  inner_.epoch(summary);
  write_event({{"event", "epoch"},
               {"stage", summary.stage},
               {"epoch", summary.epoch},
               {"epochs", summary.epochs},
               {"line", to_line(summary)}});
}

void EventStream::began(const std::filesystem::path& run) { write_event({{"event", "run"}, {"folder", run.string()}}); }

void EventStream::finished(const std::string& stage, bool reused, double seconds) {
  write_event({{"event", "stage"}, {"stage", stage}, {"reused", reused}, {"seconds", seconds}});
}

}  // namespace kd::cli
