// kdrun compare: runs side by side, as mean and standard deviation over seeds.
#include "report/compare.h"

#include <fmt/format.h>

#include "cli/command.h"

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
  command->add_option("--format", given->format, "md or csv")
      ->capture_default_str()
      ->check(CLI::IsMember({"md", "csv"}));
  command->callback([given] {
    const auto groups = compare_runs({given->runs.begin(), given->runs.end()});
    fmt::print("{}", given->format == "csv" ? to_csv(groups) : to_markdown(groups));
  });
}

}  // namespace kd::cli
