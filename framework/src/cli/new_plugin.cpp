// kdrun new plugin: writes a compiling plugin with its test.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "cli/command.h"
#include "files/atomic_file.h"
#include "kd/api.h"
#include "plugin/registry.h"

namespace kd::cli {
namespace {

/// Where the templates are if this program is an installed one.
std::filesystem::path installed_templates() { return own_program().parent_path() / KD_TEMPLATES_INSTALLED; }

/// The folder of the templates: of the source tree, or of the installed kdrun that this program belongs to.
std::filesystem::path template_folder() {
  const std::filesystem::path installed = installed_templates();
  for (const std::filesystem::path& candidate : {std::filesystem::path(KD_TEMPLATES_SOURCE), installed}) {
    if (std::filesystem::is_directory(candidate)) return candidate;
  }
  throw Error("the plugin templates are not there: neither in " KD_TEMPLATES_SOURCE " nor in " + installed.string());
}

std::string replace_all(std::string text, const std::map<std::string, std::string>& names) {
  for (const auto& [from, to] : names) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  }
  return text;
}

/// "my_loss" as a class: "MyLoss".
std::string class_name(const std::string& name) {
  std::string result;
  bool upper = true;
  for (const char c : name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    result += upper ? static_cast<char>(std::toupper(c)) : c;
    upper = false;
  }
  return result;
}

void check_name(const std::string& name) {
  const bool plain = !name.empty() && std::islower(static_cast<unsigned char>(name[0])) != 0 &&
                     name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
  if (!plain)
    throw RecipeError({}, fmt::format("'{}' is no name for a plugin", name),
                      "lower-case letters, digits and '_', a letter first");
}

/// The plural, as the folders under plugins/ are called.
std::string folder_of_kind(const std::string& kind) {
  if (kind == "analysis") return "analyses";
  return kind + (kind.ends_with('s') ? "es" : "s");
}

/// Of a project outside kdrun's tree, against the installed kdrun that this program is, or one that is to be installed.
std::string how_to_build(const std::string& kind, const std::string& name, const std::string& folder) {
  const bool is_installed = std::filesystem::is_directory(installed_templates());
  const std::string own_prefix = own_program().parent_path().parent_path().string();
  const std::string prefix = is_installed ? own_prefix : "~/opt/kdrun";
  const std::string install =
      is_installed ? "" : fmt::format("install kdrun: cmake --install {} --prefix {}\n", own_prefix, prefix);
  return fmt::format(
      "{0}build it: cmake -S {1} -B {1}/build -DCMAKE_PREFIX_PATH={2} && cmake --build {1}/build\n"
      "test it: ctest --test-dir {1}/build --output-on-failure\n"
      "use it: KDRUN_PLUGIN_PATH={1}/build/lib/kdrun/plugins {2}/bin/kdrun describe {3} {4}",
      install, folder, prefix, kind, name);
}

void write_plugin(const std::string& kind, const std::string& name, const std::string& outside) {
  const auto& kinds = component_kinds();
  if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
    throw RecipeError({}, fmt::format("there is no kind '{}'", kind), name_hint(kind, kinds, "kinds"));
  }
  check_name(name);
  load_plugins_with_warnings({});
  if (const RegisteredComponent* known = registry().find(kind, name)) {
    throw RecipeError({}, fmt::format("there is a {} '{}' already, from {}", kind, name, known->library.string()),
                      "take another name");
  }
  const bool in_tree = outside.empty();
  if (in_tree && !std::filesystem::is_directory("plugins")) {
    throw RecipeError({}, "there is no folder 'plugins' here",
                      "call this in kdrun's source tree, or give --outside DIR");
  }
  const std::filesystem::path folder =
      in_tree ? std::filesystem::path("plugins") / folder_of_kind(kind) / name : std::filesystem::path(outside);
  const std::filesystem::path templates = template_folder();
  const std::map<std::string, std::string> names = {
      {"KD_NAME_HERE", name}, {"KdClassHere", class_name(name)}, {"KD_KIND_HERE", kind}};
  const std::map<std::string, std::string> files = {
      {kind + ".cpp", name + ".cpp"},
      {kind + "_test.cpp", name + "_test.cpp"},
      {in_tree ? "CMakeLists.in_tree.txt" : "CMakeLists.outside.txt", "CMakeLists.txt"}};
  for (const auto& [from, to] : files) {
    if (std::filesystem::exists(folder / to))
      throw Error((folder / to).string() + " exists already; nothing was written");
  }
  std::filesystem::create_directories(folder);
  for (const auto& [from, to] : files) {
    write_file(folder / to, replace_all(read_text(templates / from), names));
    fmt::print("wrote {}\n", (folder / to).string());
  }
  fmt::print("{}\n", in_tree ? fmt::format("build and test it: tools/test plugin.{}_{}", kind, name)
                             : how_to_build(kind, name, folder.string()));
}

}  // namespace

void add_new(CLI::App& app) {
  struct Arguments {
    std::string kind, name, outside;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("new", "write the beginning of a plugin");
  command->require_subcommand(1);
  CLI::App* plugin = command->add_subcommand("plugin", "a compiling plugin with its test");
  plugin->add_option("kind", given->kind, fmt::format("one of: {}", fmt::join(component_kinds(), ", ")))->required();
  plugin->add_option("name", given->name, "as recipes will call it")->required();
  plugin->add_option("--outside", given->outside, "a folder outside kdrun's tree, as a project of its own");
  plugin->callback([given] { write_plugin(given->kind, given->name, given->outside); });
}

}  // namespace kd::cli
