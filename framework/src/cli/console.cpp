// console.h
#include "cli/console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace kd::cli {
namespace {

constexpr auto kBetweenBars = std::chrono::milliseconds(100);
constexpr int kBarWidth = 20;

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

}  // namespace

Console::Console() : terminal_(::isatty(STDERR_FILENO) == 1) {}

Console::~Console() { clear_bar(); }

void Console::clear_bar() {
  if (bar_shown_) fmt::print(stderr, "\r\033[K");
  bar_shown_ = false;
}

void Console::say(const std::string& line) {
  clear_bar();
  fmt::print(stderr, "{}\n", line);
}

void Console::warn(const std::string& line) { say("warning: " + line); }

void Console::moment(const Moment& moment) {
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || now - last_ < kBetweenBars) return;
  last_ = now;
  const int filled = static_cast<int>(moment.batch * kBarWidth / std::max<std::int64_t>(1, moment.batches));
  std::string line = fmt::format("{} {}/{} [{:<{}}]", moment.stage, moment.epoch + 1, moment.epochs,
                                 std::string(static_cast<std::size_t>(filled), '='), kBarWidth);
  for (const auto& [name, value] : moment.means()) {
    line += name == "top1" ? fmt::format(" {} {:.1f}%", name, 100 * value) : fmt::format(" {} {:.4f}", name, value);
  }
  line += fmt::format(" lr {:.2g} {:.0f} img/s {} left", moment.learning_rate, moment.images_per_second,
                      duration_text(moment.seconds_left));
  line.resize(std::min(line.size(), terminal_width() - 1));
  fmt::print(stderr, "\r\033[K{}", line);
  std::fflush(stderr);
  bar_shown_ = true;
}

void Console::epoch(const EpochSummary& summary) {
  clear_bar();
  std::string line = fmt::format("{} epoch {}/{}", summary.stage, summary.epoch, summary.epochs);
  const auto add = [&line](const std::map<std::string, double>& numbers, const char* name, const char* format,
                           double factor) {
    const auto found = numbers.find(name);
    if (found != numbers.end()) line += fmt::format(fmt::runtime(format), factor * found->second);
  };
  for (const auto& [network, numbers] : summary.networks) {
    if (summary.networks.size() > 1) line += " | " + network;
    add(numbers, "train/loss", " loss {:.4f}", 1);
    add(numbers, "train/top1", " train {:.2f}%", 100);
    add(numbers, "validation/top1", " validation {:.2f}%", 100);
    add(numbers, "test/top1", " test {:.2f}%", 100);
  }
  fmt::print(stderr, "{} lr {:.2g} {:.0f} img/s\n", line, summary.learning_rate, summary.images_per_second);
}

}  // namespace kd::cli
