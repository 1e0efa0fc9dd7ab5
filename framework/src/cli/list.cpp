// kdrun list: the registered components and the libraries that were refused.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "kd/plugin.h"
#include "plugin/registry.h"

namespace kd::cli {
namespace {

void print_json(const std::string& kind) {
  nlohmann::ordered_json json{{"components", nlohmann::json::array()}, {"refused", nlohmann::json::array()}};
  for (const RegisteredComponent* component : registry().components(kind)) {
    json["components"].push_back({{"kind", component->kind},
                                  {"name", component->name},
                                  {"help", component->help},
                                  {"library", component->library.string()},
                                  {"source", component->source}});
  }
  for (const RefusedLibrary& refused : registry().refused()) {
    json["refused"].push_back({{"library", refused.library.string()}, {"reason", refused.reason}});
  }
  fmt::print("{}\n", json.dump(2));
}

}  // namespace

void add_list(CLI::App& app) {
  struct Arguments {
    std::string kind;
    bool json = false, libraries = false;
    std::vector<std::string> folders;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("list", "list the registered components");
  command->add_option("kind", given->kind, fmt::format("one of: {}", fmt::join(component_kinds(), ", ")));
  command->add_flag("--json", given->json, "as JSON");
  command->add_flag("--libraries", given->libraries, "with the library that each comes from");
  command->add_option("--plugin-dir", given->folders, "more folders with plugins")->allow_extra_args(false);
  command->callback([given] {
    const auto& kinds = component_kinds();
    if (!given->kind.empty() && std::find(kinds.begin(), kinds.end(), given->kind) == kinds.end()) {
      throw RecipeError({}, fmt::format("there is no kind '{}'", given->kind), name_hint(given->kind, kinds, "kinds"));
    }
    load_plugins(given->folders);
    if (given->json) return print_json(given->kind);
    for (const std::string& kind : kinds) {
      if (!given->kind.empty() && kind != given->kind) continue;
      for (const RegisteredComponent* component : registry().components(kind)) {
        fmt::print("{:<13} {:<20} {}\n", kind, component->name, component->help);
        if (given->libraries) fmt::print("{:<34} {}\n", "", component->library.string());
      }
    }
    for (const RefusedLibrary& refused : registry().refused()) {
      fmt::print("refused       {}\n              {}\n", refused.library.string(), refused.reason);
    }
  });
}

}  // namespace kd::cli
