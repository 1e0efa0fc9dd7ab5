// kdrun runs: what runs there are and what they take of the disk; removes those that are named.
#include <fmt/format.h>

#include <set>

#include "cli/command.h"
#include "cli/output.h"
#include "kd/diagnostics.h"
#include "record/remove_runs.h"
#include "report/run_list.h"
#include "report/table_views.h"

namespace kd::cli {
namespace {

struct Arguments {
  std::string folder = "runs", recipe, order = "when", format = "table";
  std::vector<std::string> statuses, names;
  bool yes = false, unused_stages = false;
};

/// "3 runs: 1.2 MB of their own, 34.5 MB of stages", and how much could go.
std::string sums_text(const RunList& list, const std::vector<ListedRun>& shown) {
  std::int64_t own = 0, shared = 0, unused = 0;
  std::set<std::filesystem::path> stages;  // runs of the same settings share them
  for (const ListedRun& run : shown) {
    own += disk_bytes(run.folder);
    stages.insert(run.stages.begin(), run.stages.end());
  }
  for (const auto& stage : stages) shared += disk_bytes(stage);
  for (const auto& stage : unused_stages(list)) unused += disk_bytes(stage);
  std::string text = fmt::format("{} run(s): {} of their own, {} of {} stage(s)\n", shown.size(), size_text(own),
                                 size_text(shared), stages.size());
  if (unused > 0) {
    text += fmt::format("{} of stages that no run links to: kdrun runs remove --unused-stages\n", size_text(unused));
  }
  return text;
}

void show(const Arguments& given) {
  const RunList list = list_runs(given.folder);
  for (const ListedRun& run : list.runs) {
    if (!run.problem.empty())
      write_error(fmt::format("warning: {} is left out: {}\n", run.folder.string(), run.problem));
  }
  const std::vector<ListedRun> runs = select_runs(list, given.statuses, given.recipe, given.order);
  const Table table = run_table(runs);
  if (given.format == "csv") return fmt::print("{}", to_csv(table));
  if (given.format == "json") return fmt::print("{}", to_json(table));
  fmt::print("{}{}", runs.empty() ? "" : to_console(table), sums_text(list, runs));
}

void remove_named(const Arguments& given) {
  if (given.names.empty() == !given.unused_stages)
    throw RecipeError({}, "say which runs to remove, or --unused-stages", "kdrun runs lists them");
  const RunList list = list_runs(given.folder);
  const Removal removal = given.unused_stages ? plan_unused_stages(list) : plan_removal(list, given.names);
  if (given.yes) return remove(removal, [](const std::string& line) { fmt::print("{}\n", line); });
  for (const std::string& line : describe(removal)) fmt::print("{}\n", line);
}

}  // namespace

void add_runs(CLI::App& app) {
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("runs", "list runs with their disk space, and remove them");
  command->add_option("--status", given->statuses, fmt::format("only these: {}", fmt::join(run_statuses(), ", ")))
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember(run_statuses()));
  command->add_option("--recipe", given->recipe, "only those of this recipe, as the first column has it");
  command->add_option("--sort", given->order, fmt::format("by one of: {}", fmt::join(run_orders(), ", ")))
      ->capture_default_str()
      ->check(CLI::IsMember(run_orders()));
  command->add_option("--format", given->format, "table, csv or json")
      ->capture_default_str()
      ->check(CLI::IsMember({"table", "csv", "json"}));
  CLI::App* removing = command->add_subcommand("remove", "remove runs, and the stages that nothing else needs");
  removing->add_option("run", given->names, "run folders, or RECIPE/RUN as kdrun runs shows them");
  removing->add_flag("--unused-stages", given->unused_stages, "instead: the stages that no run links to");
  removing->add_flag("--yes", given->yes, "removes; without it what would go is shown");
  for (CLI::App* one : {command, removing})
    one->add_option("--run-dir", given->folder, "folder of all runs")->capture_default_str();
  removing->callback([given] { remove_named(*given); });
  command->callback([given, removing] {
    if (!removing->parsed()) show(*given);
  });
}

}  // namespace kd::cli
