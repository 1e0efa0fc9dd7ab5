// kdrun compare: runs side by side, as mean and standard deviation over seeds.
#include "report/compare.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/output.h"

namespace kd::cli {

void add_compare(CLI::App& app) {
  struct Arguments {
    std::vector<std::string> runs;
    std::string format = "md";
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("compare", "mean and standard deviation over the seeds of runs");
  command->add_option("run", given->runs, "run folders; those that differ in their seed alone make one group")
      ->required();
  command->add_option("--format", given->format, "md, csv or latex")
      ->capture_default_str()
      ->check(CLI::IsMember({"md", "csv", "latex"}));
  command->callback([given] {
    const Comparison comparison = compare_runs({given->runs.begin(), given->runs.end()});
    for (const LeftOutRun& run : comparison.left_out)
      write_error(fmt::format("warning: {} is left out: {}\n", run.folder.string(), run.reason));
    fmt::print("{}", given->format == "csv"     ? to_csv(comparison.groups)
                     : given->format == "latex" ? to_latex(comparison.groups)
                                                : to_markdown(comparison.groups));
  });
}

}  // namespace kd::cli
