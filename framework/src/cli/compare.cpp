// kdrun compare: runs side by side, as mean, deviation and interval over seeds, and differences from a baseline.
#include "report/compare.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/output.h"
#include "kd/diagnostics.h"
#include "report/table_views.h"

namespace kd::cli {
namespace {

struct CompareArguments {
  std::vector<std::string> runs, filters;
  CompareOptions options;
  std::string format = "table";
  bool strict = false, tables = false;
};

std::string text_of(const Comparison& comparison, const std::string& format) {
  if (format == "csv") return to_csv(complete(comparison));
  if (format == "json") return to_json(complete(comparison));
  const Table table = readable(comparison);
  if (format == "latex") return to_latex(table);
  if (format == "html") return to_html(table);
  return format == "md" ? to_markdown(table) : to_console(table);
}

}  // namespace

void add_compare(CLI::App& app) {
  auto given = std::make_shared<CompareArguments>();
  CLI::App* command = app.add_subcommand("compare", "mean, deviation and differences over the seeds of runs");
  command
      ->add_option("run", given->runs,
                   "run folders, or folders of sweeps; runs that differ in their seed alone are "
                   "one row")
      ->required();
  command->add_option("--table", given->options.table, "which table of the runs: summary, or one of an analysis")
      ->capture_default_str();
  command->add_flag("--tables", given->tables, "lists the tables that the runs have");
  command->add_option("--metric", given->options.metrics, "numbers of the table, as top1,ece")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--stage", given->options.stage, "only this STAGE or STAGE/NETWORK");
  command->add_option(
      "--baseline", given->options.baseline,
      "STAGE or STAGE/NETWORK of the same run, or KEY=VALUE of other runs: differences from it, seed by "
      "seed");
  command->add_option("--filter", given->filters, "KEY=VALUE: only runs whose settings say so")
      ->allow_extra_args(false);
  command->add_option("--sort", given->options.sort, "a column, as top1; downwards as -top1");
  command->add_option("--columns", given->options.columns, "of settings and names, those that are shown")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--format", given->format, "table, md, latex, csv, json or html")
      ->capture_default_str()
      ->check(CLI::IsMember({"table", "md", "latex", "csv", "json", "html"}));
  command->add_flag("--strict", given->strict, "refuses runs that would be left out");
  command->callback([given] {
    const RunSet set = read_runs({given->runs.begin(), given->runs.end()}, given->filters);
    std::string left_out;
    for (const LeftOutRun& run : set.left_out) left_out += fmt::format("\n    {}: {}", run.folder.string(), run.reason);
    if (given->strict && !left_out.empty()) throw FileError("runs that cannot be compared:" + left_out);
    for (const LeftOutRun& run : set.left_out)
      write_error(fmt::format("warning: {} is left out: {}\n", run.folder.string(), run.reason));
    if (given->tables) {
      for (const std::string& name : table_names(set.groups.front().runs.front().folder)) fmt::print("{}\n", name);
      return;
    }
    const Comparison comparison = compare(set, given->options);
    fmt::print("{}", text_of(comparison, given->format));
    for (const std::string& note : comparison.notes) write_error("note: " + note + "\n");
  });
}

}  // namespace kd::cli
