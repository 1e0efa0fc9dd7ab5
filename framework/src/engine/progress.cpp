// progress.h
#include "engine/progress.h"

#include <fmt/format.h>

namespace kd {

Progress::~Progress() = default;

std::string to_line(const EpochSummary& summary) {
  std::string line = fmt::format("{} epoch {}/{}", summary.stage, summary.epoch, summary.epochs);
  for (const auto& [network, numbers] : summary.networks) {
    if (summary.networks.size() > 1) line += " | " + network;
    const auto add_share = [&numbers = numbers, &line](const char* name, const char* shown) {
      if (const auto found = numbers.find(name); found != numbers.end())
        line += fmt::format(" {} {:.2f}%", shown, 100 * found->second);
    };
    if (const auto loss = numbers.find("train/loss"); loss != numbers.end())
      line += fmt::format(" loss {:.4f}", loss->second);
    add_share("train/top1", "train");
    add_share("validation/top1", "validation");
    add_share("test/top1", "test");
  }
  return line + fmt::format(" lr {:.2g} {:.0f} img/s", summary.learning_rate, summary.images_per_second);
}

}  // namespace kd
