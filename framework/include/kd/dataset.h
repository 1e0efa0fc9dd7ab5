// A data set: images and labels, whole in memory, and what is known of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kd/api.h"

namespace kd {

/// Shape, classes and statistics of a data set.
struct KD_API DataInfo {
  std::int64_t channels = 0, height = 0, width = 0;
  std::vector<std::string> class_names;
  std::vector<double> mean, deviation;  ///< per channel, of pixels in [0, 1], over the training set
  std::string name = {};                ///< of the data set, as recipes call it; kdrun fills it in

  std::int64_t classes() const { return static_cast<std::int64_t>(class_names.size()); }
};

/// One split of a data set, in memory.
struct KD_API ImageSet {
  at::Tensor images;  ///< uint8, N×C×H×W
  at::Tensor labels;  ///< int64, N
};

enum class Split { kTrain, kValidation, kTest };

class KD_API DataSet {
 public:
  static constexpr const char* kKind = "dataset";
  struct Context {
    std::filesystem::path root;  ///< the data root, as the official archives unpack into it
  };

  virtual ~DataSet();
  virtual DataInfo info() const = 0;
  /// Throws kd::FileError that names the file and the remedy where a file is missing, truncated or of another format.
  virtual ImageSet load(Split split) const = 0;
};

/// The bytes of a file of a data set. `remedy` ends the message where it cannot be read ("kdrun data fetch mnist").
KD_API std::vector<std::uint8_t> read_data_file(const std::filesystem::path& file, const std::string& remedy);

}  // namespace kd
