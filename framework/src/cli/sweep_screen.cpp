// sweep_screen.h
#include "cli/sweep_screen.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "cli/console.h"
#include "cli/output.h"

namespace kd::cli {
namespace {

constexpr auto kBetweenDrawings = std::chrono::milliseconds(200);

std::string step_text(const nlohmann::json& event) {
  return fmt::format("{} {}/{}  {:.0f} img/s, {} left", event.value("stage", ""), event.value("epoch", 0) + 1,
                     event.value("epochs", 0), event.value("images_per_second", 0.0),
                     duration_text(event.value("seconds_left", 0.0)));
}

}  // namespace

SweepScreen::SweepScreen(const SweepPlan& plan, const SweepFolder& folder, std::size_t jobs)
    : plan_(plan),
      folder_(folder),
      jobs_(jobs),
      terminal_(::isatty(STDERR_FILENO) == 1),
      done_before_(count(PointStatus::kDone)) {
  const std::string known = done_before_ > 0 ? fmt::format(", {} of them done before", done_before_) : "";
  say(fmt::format("{} points{}, {} side by side, in {}", plan.points.size(), known, jobs, folder.path().string()));
}

SweepScreen::~SweepScreen() { clear(); }

void SweepScreen::started(std::size_t point) {
  doing_[point] = "begins";
  if (!terminal_) say(fmt::format("{}: {}: begins", point, plan_.label(plan_.points[point])));
}

void SweepScreen::told(std::size_t point, const nlohmann::json& event) {
  const std::string kind = event.value("event", "");
  if (kind == "step") doing_[point] = step_text(event);
  if (kind == "stage" && !terminal_) {
    say(fmt::format("{}: {}: stage {} {}", point, plan_.label(plan_.points[point]), event.value("stage", ""),
                    event.value("reused", false) ? "was there" : "is trained"));
  }
}

void SweepScreen::ended(std::size_t point) {
  doing_.erase(point);
  const PointState& state = folder_.states()[point];
  say(fmt::format("{}: {}: {} after {}{}", point, plan_.label(plan_.points[point]), name_of(state.status),
                  duration_text(state.seconds), state.reason.empty() ? "" : "\n    " + state.reason));
  if (!terminal_) say(headline());
}

void SweepScreen::waited() {
  if (!terminal_ || Clock::now() - drawn_ < kBetweenDrawings) return;
  clear();
  draw();
}

std::size_t SweepScreen::count(PointStatus status) const {
  return static_cast<std::size_t>(std::count_if(folder_.states().begin(), folder_.states().end(),
                                                [&](const PointState& state) { return state.status == status; }));
}

std::string SweepScreen::headline() const {
  const std::size_t done = count(PointStatus::kDone), failed = count(PointStatus::kFailed);
  const std::size_t left = plan_.points.size() - done - failed, ended = done + failed - done_before_;
  std::string text = fmt::format("{} of {} points done", done, plan_.points.size());
  if (failed > 0) text += fmt::format(", {} failed", failed);
  if (ended == 0 || left == 0) return text;
  const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  return text + fmt::format(", about {} left",
                            duration_text(seconds / static_cast<double>(ended) * static_cast<double>(left)));
}

void SweepScreen::say(const std::string& line) {
  clear();
  write_error(line + "\n");
}

void SweepScreen::clear() {
  for (; lines_ > 0; --lines_) write_error("\033[1A\033[2K");
}

void SweepScreen::draw() {
  drawn_ = Clock::now();
  std::vector<std::string> lines = {headline()};
  for (const auto& [point, what] : doing_)
    lines.push_back(fmt::format("  {}: {}: {}", point, plan_.label(plan_.points[point]), what));
  for (std::string& line : lines) {
    line.resize(std::min(line.size(), terminal_width() - 1));
    write_error(line + "\n");
  }
  lines_ = lines.size();
}

}  // namespace kd::cli
