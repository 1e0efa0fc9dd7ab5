// known.h
#include "complete/known.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "files/digest.h"
#include "kd/diagnostics.h"
#include "plugin/loader.h"

namespace kd {

static void to_json(nlohmann::json& json, const Value& value) { json = value.is_null() ? "" : value.to_toml(); }
static void from_json(const nlohmann::json& json, Value& value) {
  const auto text = json.get<std::string>();
  value = text.empty() ? Value() : Value::parse(text);
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FieldInfo, name, help, type, default_value, choices, component_kind, extras)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(KnownOption, name, help, takes_value, choices)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(KnownCommand, name, help, options, positionals, commands)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(KnownComponent, kind, name, help, fields)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Known, program, components, data_sets, recipe_folder)

const KnownComponent* Known::find(const std::string& kind, const std::string& name) const {
  const auto found = std::find_if(components.begin(), components.end(), [&](const KnownComponent& component) {
    return component.kind == kind && component.name == name;
  });
  return found == components.end() ? nullptr : &*found;
}

std::string to_json(const Known& known) { return nlohmann::json(known).dump(); }

Known known_from_json(const std::string& text) {
  try {
    return nlohmann::json::parse(text).get<Known>();
  } catch (const std::exception& error) {
    throw FileError(fmt::format("this is nothing that completion has kept: {}", error.what()));
  }
}

std::string state_of_program(const std::filesystem::path& program) {
  Digest digest;
  const auto add = [&digest](const std::filesystem::path& file) {
    struct stat facts{};
    if (::stat(file.c_str(), &facts) != 0) return;
    digest.add(fmt::format("{} {} {}.{}\n", file.string(), facts.st_size, facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec));
  };
  add(program);
  std::vector<std::filesystem::path> folders = plugin_folders({});
  folders.push_back(folders.back().parent_path().parent_path());  // kdrun's own libraries
  for (const std::filesystem::path& folder : folders) {
    std::error_code error;
    std::vector<std::filesystem::path> files;
    for (const auto& item : std::filesystem::directory_iterator(folder, error)) {
      if (item.path().extension() == ".so") files.push_back(item.path());
    }
    std::sort(files.begin(), files.end());
    std::for_each(files.begin(), files.end(), add);
  }
  return digest.hex();
}

}  // namespace kd
