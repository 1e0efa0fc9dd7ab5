// The program kdrun: finds the command and turns errors into exit codes.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cli/command.h"
#include "kd/diagnostics.h"

namespace {

/// `kdrun [options] recipe.toml` is short for `kdrun run [options] recipe.toml`.
std::vector<std::string> with_default_command(std::vector<std::string> arguments, const CLI::App& app) {
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  const auto is_command = [&commands](const std::string& argument) {
    return std::any_of(commands.begin(), commands.end(),
                       [&](const CLI::App* command) { return command->get_name() == argument; });
  };
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
  app.footer("Short for the first: kdrun RECIPE.toml [key=value ...]");
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
  try {
    return run({values + 1, values + count});
  } catch (const kd::RecipeError& error) {
    fmt::print(stderr, "{}\n", error.what());  // names its place and says "error" itself
    return static_cast<int>(error.code());
  } catch (const kd::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", kd::message_of(error));
    return static_cast<int>(kd::ExitCode::kFailed);
  }
}
