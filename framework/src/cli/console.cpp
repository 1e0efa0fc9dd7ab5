// console.h
#include "cli/console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "cli/output.h"

namespace kd::cli {
namespace {

constexpr auto kBetweenBars = std::chrono::milliseconds(100);
constexpr int kBarWidth = 20;

}  // namespace

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds);
  if (whole >= 3600) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
  if (whole >= 60) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{:.0f}s", seconds);
}

std::size_t terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

Console::Console() : terminal_(::isatty(STDERR_FILENO) == 1) {}

Console::~Console() { clear_bar(); }

void Console::clear_bar() {
  if (bar_shown_) write_error("\r\033[K");
  bar_shown_ = false;
}

void Console::say(const std::string& line) {
  clear_bar();
  write_error(line + "\n");
}

void Console::warn(const std::string& line) { say("warning: " + line); }

void Console::step(const StepProgress& progress) {
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || now - last_ < kBetweenBars) return;
  last_ = now;
  const int filled = static_cast<int>(progress.batch * kBarWidth / std::max<std::int64_t>(1, progress.batches));
  std::string line = fmt::format("{} {}/{} [{:<{}}]", progress.stage, progress.epoch + 1, progress.epochs,
                                 std::string(static_cast<std::size_t>(filled), '='), kBarWidth);
  for (const auto& [name, value] : progress.means()) {
    line += name == "top1" ? fmt::format(" {} {:.1f}%", name, 100 * value) : fmt::format(" {} {:.4f}", name, value);
  }
  line += fmt::format(" lr {:.2g} {:.0f} img/s {} left", progress.learning_rate, progress.images_per_second,
                      duration_text(progress.seconds_left));
  line.resize(std::min(line.size(), terminal_width() - 1));
  write_error("\r\033[K" + line);
  bar_shown_ = true;
}

void Console::epoch(const EpochSummary& summary) { say(to_line(summary)); }

}  // namespace kd::cli
