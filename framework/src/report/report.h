// One HTML file that tells of runs or of a sweep: opens anywhere, without a network and without a server.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kd/api.h"

namespace kd {

/// Tables and pictures are readable without scripts; scripts add sorting, charts, light and dark. Folders are run
/// folders, or sweep folders with their finished points. Throws FileError where no finished run is among them.
KD_API std::string html_report(const std::vector<std::filesystem::path>& folders);

}  // namespace kd
