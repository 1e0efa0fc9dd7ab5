// A split of a data set that is image files: JPEG and PNG, looked at once and then read when they are needed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/dataset.h"

namespace kd {

/// An image file and its class.
struct ImageFile {
  std::string name;  ///< below the folder of the data set; what the sample is called, in messages too
  std::int64_t label = 0;
};

/// What becomes of files that are no image, or a damaged one.
enum class OnBad { kError, kSkip };

struct ImageFilesRequest {
  std::string what;  ///< begins messages: "data set 'flowers'"
  std::filesystem::path folder;
  std::vector<ImageFile> files;
  OnBad on_bad = OnBad::kError;
  std::function<void(const std::string&)> say = nullptr;  ///< told of files that are left out; may be null
};

/// A reader of the files as decode_image() reads them. Every file is read and decoded once, on all cores, and what came
/// out is kept in the user's cache folder by the file's size and time: later runs look at those alone, and the
/// fingerprint still follows from the bytes. Throws FileError that names the files which are no image, or are damaged,
/// where they are not to be skipped.
KD_API std::unique_ptr<ImageReader> open_image_files(const ImageFilesRequest& request);

}  // namespace kd
