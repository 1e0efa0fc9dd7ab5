// kdrun report: one HTML file that tells of runs or of a sweep.
#include "report/report.h"

#include <fmt/format.h>

#include <filesystem>

#include "cli/command.h"
#include "files/atomic_file.h"
#include "kd/diagnostics.h"

namespace kd::cli {

void add_report(CLI::App& app) {
  struct Arguments {
    std::vector<std::string> runs;
    std::string output = "report.html";
    bool replace = false;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("report", "one HTML file that tells of runs or of a sweep");
  command->add_option("run", given->runs, "run folders, or folders of sweeps")->required();
  command->add_option("-o,--out", given->output, "the file to write")->capture_default_str();
  command->add_flag("--replace", given->replace, "writes over a file that is there");
  command->callback([given] {
    if (!given->replace && std::filesystem::exists(given->output)) {
      throw Error({{{}, given->output + " exists already; nothing was written", "another name with -o, or --replace"}});
    }
    const auto kind = std::filesystem::symlink_status(given->output).type();
    if (kind != std::filesystem::file_type::not_found && kind != std::filesystem::file_type::regular)
      throw Error({{{}, given->output + " is no regular file; nothing was written", "another name with -o"}});
    const std::string text = html_report({given->runs.begin(), given->runs.end()});
    write_file(given->output, text);
    fmt::print("wrote {} ({} kB)\n", given->output, (text.size() + 999) / 1000);
  });
}

}  // namespace kd::cli
