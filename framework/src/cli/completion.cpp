// kdrun completion and the hidden kdrun complete: command lines that shells complete.
#include <fmt/format.h>

#include <filesystem>

#include "cli/command.h"
#include "complete/complete.h"
#include "kd/diagnostics.h"
#include "plugin/registry.h"

namespace kd::cli {
namespace {

/// What stands in the braces of "TEXT:{ok,stopped}".
std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t begin = type.find('{'), end = type.rfind('}');
  if (begin == std::string::npos || end == std::string::npos) return {};
  return CLI::detail::split(type.substr(begin + 1, end - begin - 1), ',');
}

KnownCommand known_command(const CLI::App& command) {
  KnownCommand known{
      .name = command.get_name(), .help = command.get_description(), .options = {}, .positionals = {}, .commands = {}};
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_positional()) {
      known.positionals.push_back(option->get_name(true));
      continue;
    }
    for (const std::string& name : option->get_lnames()) {
      known.options.push_back({.name = "--" + name,
                               .help = option->get_description(),
                               .takes_value = option->get_type_size() > 0,
                               .choices = choices_of(*option)});
    }
  }
  for (const CLI::App* below : command.get_subcommands([](const CLI::App* one) { return !one->get_group().empty(); }))
    known.commands.push_back(known_command(*below));
  return known;
}

/// The folder of what kdrun copy copies; empty where it is not there.
std::string copied_folder() {
  try {
    return recipe_folder().string();
  } catch (const Error&) {
    return "";
  }
}

Known everything(const CLI::App& app) {
  load_plugins();
  Known known{.program = known_command(app), .components = {}, .data_sets = {}, .recipe_folder = copied_folder()};
  for (const RegisteredComponent* one : registry().components())
    known.components.push_back({one->kind, one->name, one->help, one->fields});
  for (const DataSource& source : data_sources()) known.data_sets.push_back(source.name);
  return known;
}

/// What a script asks: the small program that answers quickly, or where that is not there, this one.
std::vector<std::string> completer() {
  const std::filesystem::path program = own_program();
  for (const char* place : {"kdrun_complete", KD_COMPLETE_INSTALLED}) {
    const std::filesystem::path quick = (program.parent_path() / place).lexically_normal();
    if (std::filesystem::exists(quick)) return {quick.string()};
  }
  return {program.string(), "complete", "--"};
}

}  // namespace

void add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  CLI::App* printing = app.add_subcommand("completion", "print a script that completes kdrun's words in a shell");
  printing->add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  printing->callback([shell] { fmt::print("{}", shell_script(*shell, completer())); });

  struct Arguments {
    std::vector<std::string> words;
    bool known = false;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* answering = app.add_subcommand("complete", "what the words may go on with, for the scripts of completion");
  answering->group("");
  answering->add_option("words", given->words, "behind --, the last one being typed");
  answering->add_flag("--known", given->known, "what kdrun_complete keeps");
  answering->callback([given, &app] {
    const Known known = everything(app);
    fmt::print("{}", given->known ? to_json(known) : to_lines(complete(given->words, known)));
  });
}

}  // namespace kd::cli
