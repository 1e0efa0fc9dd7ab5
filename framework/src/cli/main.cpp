// The program kdrun: finds the command and turns errors into exit codes.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <system_error>
#include <vector>

#include "cli/command.h"
#include "cli/output.h"
#include "kd/diagnostics.h"

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

int run(const std::vector<std::string>& arguments) {
  CLI::App app{"kdrun: knowledge distillation from recipes", "kdrun"};
  app.set_version_flag("--version", "kdrun " KD_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  kdrun recipes/quickstart.toml                       train (short for kdrun run …)\n"
      "  kdrun recipes/ekd.toml --profile small --seed 1     a profile of the recipe, another seed\n"
      "  kdrun R.toml train.epochs=5 --dry-run               a setting changed, and everything checked\n"
      "  kdrun describe loss kd                              what a component takes\n"
      "  kdrun compare runs/ekd/*                            mean and deviation over seeds\n"
      "kdrun COMMAND --help shows what a command takes.");
  kd::cli::add_run(app, arguments);
  kd::cli::add_validate(app);
  kd::cli::add_config(app);
  kd::cli::add_list(app);
  kd::cli::add_describe(app);
  kd::cli::add_augment(app);
  kd::cli::add_eval(app);
  kd::cli::add_compare(app);
  kd::cli::add_import(app);
  kd::cli::add_export(app);
  kd::cli::add_data(app);
  kd::cli::add_doctor(app);
  kd::cli::add_new(app);
  std::vector<std::string> reversed = with_default_command(arguments, app);
  std::reverse(reversed.begin(), reversed.end());  // as CLI11 wants them
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(kd::ExitCode::kUsage);
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
