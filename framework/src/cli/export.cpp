// kdrun export: hands the weights of a run out, for Python and for others.
#include <fmt/format.h>

#include "cli/command.h"
#include "engine/stored.h"

namespace kd::cli {

void add_export(CLI::App& app) {
  struct Arguments {
    std::string run, format = "safetensors", checkpoint = "best", folder = ".";
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("export", "write the weights of a run as safetensors or .pth");
  command->add_option("run", given->run, "a run folder, or a stage in one")->required();
  command->add_option("--format", given->format, "safetensors, or pth for torch.load(…, weights_only=True)")
      ->capture_default_str()
      ->check(CLI::IsMember({"safetensors", "pth"}));
  command->add_option("--checkpoint", given->checkpoint, "best: the epoch that the table of the run reports; or last")
      ->capture_default_str()
      ->check(CLI::IsMember({"last", "best"}));
  command->add_option("--out", given->folder, "the folder to write into")->capture_default_str();
  command->callback([given] {
    for (const auto& stage : finished_stages(given->run)) {
      for (const auto& file : export_stage(stage, given->checkpoint, given->format, given->folder))
        fmt::print("wrote {}\n", file.string());
    }
  });
}

}  // namespace kd::cli
