// Where the files of a data set come from and how they are known to be right.
#pragma once

#include <string>
#include <vector>

#include "kd/api.h"

namespace kd {

/// What a data set class declares with `static kd::DataSource source()`, for `kdrun data fetch` and `kdrun data
/// verify`.
struct KD_API DataSource {
  struct Archive {
    std::string url;
    std::string sha256;       ///< of the archive; empty where only its content has a published one
    std::string single_name;  ///< the file it holds, where it is a .gz; empty for a .tar.gz
  };
  struct File {
    std::string path;  ///< below the data root
    /// Empty where none is published: then the archive's counts, and a file SHA256SUMS beside what it held.
    std::string sha256;
  };

  std::string folder;  ///< below the data root; what a .tar.gz holds itself
  std::vector<Archive> archives;
  std::vector<File> files;
  std::string name = {};  ///< of the data set in recipes; kdrun fills it in
};

}  // namespace kd
