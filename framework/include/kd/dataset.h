// A data set: images and their labels, in memory or read when they are needed, and what is known of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/data_source.h"
#include "kd/images.h"

namespace kd {

/// Shape, classes and statistics of a data set.
struct KD_API DataInfo {
  /// Of every image; height and width are 0 where images have sizes of their own.
  std::int64_t channels = 0, height = 0, width = 0;
  std::vector<std::string> class_names;
  std::vector<double> mean, deviation;  ///< per channel, of pixels in [0, 1], over the training set
  std::string name = {};                ///< of the data set, as recipes call it; kdrun fills it in

  std::int64_t classes() const { return static_cast<std::int64_t>(class_names.size()); }
  bool sizes_differ() const { return height == 0 && width == 0; }
};

/// One split of a data set, in memory.
struct KD_API ImageSet {
  at::Tensor images;  ///< uint8, N×C×H×W
  at::Tensor labels;  ///< int64, N
};

/// One split of a data set whose images are read when they are needed.
class KD_API ImageReader {
 public:
  virtual ~ImageReader();
  /// The class of each sample.
  virtual const std::vector<std::int64_t>& labels() const = 0;
  /// Height, width and channels of a sample, known without decoding it.
  virtual ImageSize size(std::int64_t sample) const = 0;
  /// The image of a sample: uint8, C×H×W, on the CPU. Called by several threads at once. Throws FileError that names
  /// the file where it cannot be read.
  virtual at::Tensor read(std::int64_t sample) const = 0;
  /// Text that changes with the images or their order. A trained stage is taken again as long as it is the same, so it
  /// should not need every image to be read in each run.
  virtual std::string fingerprint() const = 0;
};

enum class Split { kTrain, kValidation, kTest };

/// Gives each split by load() or by open(). A class may also declare where its files come from, for `kdrun data fetch`:
/// static kd::DataSource source().
class KD_API DataSet {
 public:
  static constexpr const char* kKind = "dataset";
  struct Context {
    std::filesystem::path root;  ///< the data root, as the official archives unpack into it
    /// Tells the user something, such as that images were left out. Null: nobody listens.
    std::function<void(const std::string&)> say = nullptr;
  };

  virtual ~DataSet();
  virtual DataInfo info() const = 0;
  /// Whether there is such a split. A training and a test split there must be; recipes may hold images out of the
  /// former where there is no validation split.
  virtual bool has(Split split) const { return split != Split::kValidation; }
  /// Throws kd::FileError that names the file and the remedy where a file is missing, truncated or of another format.
  virtual ImageSet load(Split split) const;
  /// The reader of a split that is not to be loaded; null where load() gives it. Throws as load() does.
  virtual std::unique_ptr<ImageReader> open(Split split) const;
};

/// The bytes of a file of a data set. `remedy` ends the message where it cannot be read ("kdrun data fetch mnist").
KD_API std::vector<std::uint8_t> read_data_file(const std::filesystem::path& file, const std::string& remedy);

}  // namespace kd
