// Gets the files of a data set from where it says that they come from, and checks them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "files/download.h"
#include "kd/api.h"
#include "kd/data_source.h"

namespace kd {

/// Lines that say what is missing or wrong of a data set under `root`; none where it is whole.
KD_API std::vector<std::string> verify_data(const DataSource& source, const std::filesystem::path& root);

/// Downloads what is missing or wrong, checks it and unpacks it. `mirror`: a URL that replaces the folder of each
/// official one.
KD_API void fetch_data(const DataSource& source, const std::filesystem::path& root, const std::string& mirror,
                       const DownloadProgress& progress);

}  // namespace kd
