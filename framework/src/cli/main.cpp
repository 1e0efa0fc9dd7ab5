// The program kdrun: finds the command and turns errors into exit codes.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <vector>

#include "cli/command.h"
#include "cli/output.h"
#include "kd/diagnostics.h"
#include "ranks/launch.h"

namespace {

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

/// `kdrun [options] recipe.toml` is short for `kdrun run [options] recipe.toml`. Throws RecipeError where the first
/// word is neither a command nor a recipe.
std::vector<std::string> with_default_command(std::vector<std::string> arguments, const CLI::App& app) {
  const std::vector<std::string> commands = command_names(app);
  const auto is_command = [&commands](const std::string& argument) {
    return std::find(commands.begin(), commands.end(), argument) != commands.end();
  };
  const bool words_first = !arguments.empty() && !arguments.front().starts_with("-");
  const bool is_path =
      words_first && (arguments.front().find('/') != std::string::npos || std::filesystem::exists(arguments.front()));
  if (is_path && !is_command(arguments.front()) && !arguments.front().ends_with(".toml"))
    throw kd::RecipeError({}, fmt::format("'{}' is no recipe: its name does not end in .toml", arguments.front()));
  if (words_first && !is_command(arguments.front()) && !arguments.front().ends_with(".toml")) {
    // A word that people know from other programs, before the nearest one.
    const std::string meant = arguments.front() == "train" ? "run" : kd::nearest_name(arguments.front(), commands);
    throw kd::RecipeError(
        {}, fmt::format("there is no command '{}'", arguments.front()),
        meant.empty() ? fmt::format("commands: {}", fmt::join(commands, ", ")) : "did you mean 'kdrun " + meant + "'?");
  }
  const auto first = std::find_if(arguments.begin(), arguments.end(), [&](const std::string& argument) {
    return argument.ends_with(".toml") || is_command(argument);
  });
  if (first != arguments.end() && first->ends_with(".toml")) arguments.insert(arguments.begin(), "run");
  return arguments;
}

/// "did you mean '--profile'?" for the first option that the command does not know.
std::string option_hint(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App* command = &app;
  for (const CLI::App* below = command; below != nullptr;) {
    command = below;
    below = nullptr;
    for (const CLI::App* one : command->get_subcommands([](const CLI::App* sub) { return sub->parsed(); })) below = one;
  }
  std::vector<std::string> known;
  for (const CLI::Option* option : command->get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  }
  for (const std::string& argument : arguments) {
    const std::string name = argument.substr(0, argument.find('='));
    if (!name.starts_with("--") || std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string meant = kd::nearest_name(name, known);
    return meant.empty() ? fmt::format("options of '{}': {}", command->get_name(), fmt::join(known, ", "))
                         : "did you mean '" + meant + "'?";
  }
  return fmt::format("'kdrun {}--help' shows what it takes",
                     command->get_name() == "kdrun" ? "" : command->get_name() + " ");
}

/// Examples of each command, shown below its options.
void add_examples(CLI::App& app) {
  const std::map<std::string, std::string> examples = {
      {"sweep",
       "kdrun sweep recipes/mnist/grid.toml --profile small\n"
       "  kdrun sweep R.toml --grid 'stage.student.scheme.losses.kd.temperature=[1, 4]' --seeds 0,1,2 --jobs 2\n"
       "  kdrun sweep R.toml --dry-run"},
      {"validate", "kdrun validate R.toml --profile small"},
      {"config", "kdrun config R.toml\n  kdrun config R.toml --explain stage.student.ema"},
      {"list", "kdrun list\n  kdrun list loss --libraries"},
      {"augment", "kdrun augment R.toml --stage student --out sheet.png"},
      {"eval", "kdrun eval runs/ekd/20260101-120000-0123abcd\n  kdrun eval runs/ekd/…/stages/student --bins 100"},
      {"compare",
       "kdrun compare runs/ekd/*\n"
       "  kdrun compare runs/ekd/* --metric top1 --baseline student_alone --format latex\n"
       "  kdrun compare runs/grid.sweep/0123abcd --stage student --metric top1 --sort=-top1"},
      {"report", "kdrun report runs/ekd/* -o ekd.html\n  kdrun report runs/grid.sweep/0123abcd -o grid.html"},
      {"runs", "kdrun runs --status failed,interrupted\n  kdrun runs remove ekd/20260101-120000-0123abcd --yes"},
      {"export", "kdrun export runs/ekd/20260101-120000-0123abcd --format pth --out weights"},
      {"data", "kdrun data fetch cifar100\n  kdrun data verify"},
      {"copy", "kdrun copy\n  kdrun copy dml.toml my.toml"},
      {"schema", "kdrun schema > kdrun.schema.json"},
      {"completion",
       "source <(kdrun completion bash)\n  kdrun completion fish > ~/.config/fish/completions/kdrun.fish"},
      {"man", "kdrun man > kdrun.1; man ./kdrun.1"},
      {"doctor", "kdrun doctor"},
      {"new", "kdrun new plugin loss my_loss\n  kdrun new plugin loss my_loss --outside my_loss"}};
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (const auto found = examples.find(command->get_name()); found != examples.end())
      command->footer("Examples:\n  " + found->second);
  }
}

/// Training alone is shared by the processes that a launcher starts; anything else each of them would do for itself.
void refuse_several(const std::vector<std::string>& arguments) {
  constexpr std::array kWrites = {"sweep",  "compare", "report", "runs", "eval",
                                  "import", "export",  "data",   "copy", "new"};
  if (arguments.empty() || std::find(kWrites.begin(), kWrites.end(), arguments.front()) == kWrites.end()) return;
  const kd::Launch launch = kd::read_launch();
  if (launch.size == 1) return;
  throw kd::RecipeError({}, fmt::format("'kdrun {}' runs in one process, and {} started {}", arguments.front(),
                                        launch.launcher, launch.size));
}

int run(const std::vector<std::string>& arguments) {
  CLI::App app{
      "kdrun: knowledge distillation from recipes\n  kdrun RECIPE.toml [key=value …] [options]    trains a recipe",
      "kdrun"};
  app.set_version_flag("--version", "kdrun " KD_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  kdrun recipes/quickstart.toml                       train (short for kdrun run …)\n"
      "  kdrun recipes/ekd.toml --profile small --seed 1     a profile of the recipe, another seed\n"
      "  kdrun R.toml train.epochs=5 --dry-run               a setting changed, and everything checked\n"
      "  kdrun describe loss kd                              what a component takes\n"
      "  kdrun sweep R.toml --seeds 0,1,2                    over seeds, and over what [sweep] varies\n"
      "  kdrun compare runs/ekd/*                            mean and deviation over seeds\n"
      "kdrun COMMAND --help shows what a command takes.");
  kd::cli::add_run(app, arguments);
  kd::cli::add_sweep(app);
  kd::cli::add_validate(app);
  kd::cli::add_config(app);
  kd::cli::add_list(app);
  kd::cli::add_describe(app);
  kd::cli::add_augment(app);
  kd::cli::add_eval(app);
  kd::cli::add_compare(app);
  kd::cli::add_report(app);
  kd::cli::add_runs(app);
  kd::cli::add_import(app);
  kd::cli::add_export(app);
  kd::cli::add_data(app);
  kd::cli::add_copy(app);
  kd::cli::add_schema(app);
  kd::cli::add_completion(app);
  kd::cli::add_man(app);
  kd::cli::add_doctor(app);
  kd::cli::add_new(app);
  add_examples(app);
  std::vector<std::string> reversed = with_default_command(arguments, app);
  refuse_several(reversed);
  std::reverse(reversed.begin(), reversed.end());  // as CLI11 wants them
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);
    throw kd::RecipeError({}, error.what(), option_hint(app, arguments));
  }
  return 0;
}

}  // namespace

int main(int count, char** values) {
  kd::cli::hold_standard_descriptors();
  const auto fail = [](const std::string& text, kd::ExitCode code) {
    kd::cli::write_error(text + "\n");
    return static_cast<int>(code);
  };
  try {
    const int code = run({values + 1, values + count});
    kd::cli::flush_output();
    return code;
  } catch (const kd::Error& error) {
    return fail(error.text(), error.code());
  } catch (const std::system_error& error) {
    // What the formatting library throws does not name the file.
    if (std::ferror(stdout) == 0) return fail("error: " + kd::message_of(error), kd::ExitCode::kFailed);
    return fail("error: cannot write to standard output: " + error.code().message(), kd::ExitCode::kFailed);
  } catch (const std::exception& error) {
    return fail("error: " + kd::message_of(error), kd::ExitCode::kFailed);
  } catch (...) {
    return fail("error: a component threw something that is no exception", kd::ExitCode::kFailed);
  }
}
