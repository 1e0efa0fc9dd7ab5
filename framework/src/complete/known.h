// What completion of a command line knows of kdrun: its commands and components, as plain values that a file can keep.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/schema.h"

namespace kd {

struct KD_API KnownOption {
  std::string name;  ///< "--profile"
  std::string help;
  bool takes_value = false;
  std::vector<std::string> choices;  ///< where only these are taken
};

struct KD_API KnownCommand {
  std::string name, help;
  std::vector<KnownOption> options;
  std::vector<std::string> positionals;  ///< "recipe", "overrides"; the last may come again
  std::vector<KnownCommand> commands;    ///< below this one
};

struct KD_API KnownComponent {
  std::string kind, name, help;
  std::vector<FieldInfo> fields;
};

struct KD_API Known {
  KnownCommand program;
  std::vector<KnownComponent> components;
  std::vector<std::string> data_sets;  ///< that kdrun data fetches
  std::string recipe_folder;           ///< of those that kdrun copy copies

  /// Null where there is none.
  const KnownComponent* find(const std::string& kind, const std::string& name) const;
};

KD_API std::string to_json(const Known& known);
/// Throws FileError where `text` is nothing that to_json() wrote.
KD_API Known known_from_json(const std::string& text);

/// Changes with the program at `program`, the libraries beside it and the plugins that it would load.
KD_API std::string state_of_program(const std::filesystem::path& program);

}  // namespace kd
