// Finds plugin libraries and loads them: the stamp is read from the file before any of its code runs.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "kd/api.h"

namespace kd {

/// The folders that are searched, in order: those given, KDRUN_PLUGIN_PATH, and kdrun/plugins beside libkdrun.
KD_API std::vector<std::filesystem::path> plugin_folders(const std::vector<std::string>& given);

/// The stamp of a plugin file. Throws kd::Error that says what the file is instead where it is no plugin for this
/// machine.
KD_API std::string read_stamp(const std::filesystem::path& library);

/// The stamp that a plugin must have to be loaded by this kdrun.
KD_API std::string own_stamp();

}  // namespace kd
