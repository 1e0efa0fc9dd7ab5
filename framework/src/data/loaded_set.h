// A data set as its plugin gives it, loaded or opened once per process and checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "kd/api.h"
#include "kd/dataset.h"
#include "kd/schema.h"

namespace kd {

/// A split as its data set gives it.
struct LoadedSplit {
  ImageSet set;  // undefined where its images are read
  std::shared_ptr<const ImageReader> reader;

  bool defined() const { return reader != nullptr; }
};

struct LoadedSet {
  DataInfo info;
  LoadedSplit train, validation, test;
};

/// Where a data set is, and who is told of it.
struct SetRequest {
  const ComponentSpec& data;
  const std::filesystem::path& root;
  const std::function<void(const std::string&)>& say;
};

/// The data set itself, read once per process: stages differ in their selection only. Throws FileError that names it
/// where it gives what cannot be.
const LoadedSet& load_set(const SetRequest& request);

/// Its info, checked, without loading any image.
DataInfo info_of_set(const SetRequest& request);

/// Throws FileError that names `what` ("data set 'mine'") where a split is not what `info` says: images of bytes,
/// N×C×H×W, and as many labels, each of them a class.
KD_API void check_split(const ImageSet& set, const DataInfo& info, const std::string& what);

}  // namespace kd
