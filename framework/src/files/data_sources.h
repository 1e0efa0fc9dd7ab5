// Where the data sets come from and how their files are known to be right.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "files/download.h"
#include "kd/api.h"

namespace kd {

struct KD_API DataSource {
  struct Archive {
    std::string url;
    std::string sha256;       ///< of the archive; empty where only its content has a published one
    std::string single_name;  ///< the file it holds; empty for a .tar.gz
  };
  struct File {
    std::string path;  ///< below the data root
    /// Empty where none is published: then the archive's counts, and a file SHA256SUMS beside what it held.
    std::string sha256;
  };

  std::string name;    ///< of the data set in recipes
  std::string folder;  ///< below the data root; what a .tar.gz holds itself
  std::vector<Archive> archives;
  std::vector<File> files;
};

KD_API const std::vector<DataSource>& data_sources();

/// Lines that say what is missing or wrong of a data set under `root`; none where it is whole.
KD_API std::vector<std::string> verify_data(const DataSource& source, const std::filesystem::path& root);

/// Downloads what is missing or wrong, checks it and unpacks it. `mirror`: a URL that replaces the folder of each
/// official one.
KD_API void fetch_data(const DataSource& source, const std::filesystem::path& root, const std::string& mirror,
                       const DownloadProgress& progress);

}  // namespace kd
