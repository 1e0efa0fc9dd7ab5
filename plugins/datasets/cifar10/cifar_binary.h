// Reads the binary format of CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): records of labels and 3×32×32 pixels.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "kd/dataset.h"
#include "kd/diagnostics.h"

namespace cifar {

inline constexpr std::int64_t kChannels = 3;
inline constexpr std::int64_t kSide = 32;
inline constexpr std::size_t kPixelBytes = kChannels * kSide * kSide;

/// What a record holds before its pixels.
struct Layout {
  std::size_t label_bytes;  ///< how many labels, of a byte each
  std::size_t label;        ///< which of them is wanted
  std::int64_t classes;

  std::size_t record_bytes() const { return label_bytes + kPixelBytes; }
};

/// A file's bytes, and what its errors say.
struct File {
  std::filesystem::path path;
  std::string remedy;
  std::vector<std::uint8_t> bytes;
};

inline File read_file(const std::filesystem::path& path, const std::string& name) {
  const std::string remedy = "run: kdrun data fetch " + name + ", or give --data-root";
  return {path, remedy, kd::read_data_file(path, remedy)};
}

[[noreturn]] inline void fail(const File& file, const std::string& found, const std::string& wanted) {
  throw kd::FileError(file.path.string() + ": found " + found + ", want " + wanted + "; " + file.remedy);
}

/// The images and labels of a file that must hold `count` records.
inline kd::ImageSet parse_records(const File& file, const Layout& layout, std::int64_t count) {
  const std::size_t record_bytes = layout.record_bytes();
  const std::string wanted = std::to_string(count) + " records of " + std::to_string(record_bytes) + " bytes";
  if (file.bytes.size() % record_bytes != 0) {
    fail(file, std::to_string(file.bytes.size()) + " bytes, which are no whole records", wanted);
  }
  const std::size_t records = file.bytes.size() / record_bytes;
  if (records != static_cast<std::size_t>(count)) fail(file, std::to_string(records) + " records", wanted);
  kd::ImageSet set{.images = at::empty({count, kChannels, kSide, kSide}, at::kByte),
                   .labels = at::empty({count}, at::kLong)};
  std::uint8_t* images = set.images.mutable_data_ptr<std::uint8_t>();
  std::int64_t* labels = set.labels.mutable_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < records; ++i) {
    const std::uint8_t* record = file.bytes.data() + i * record_bytes;
    labels[i] = record[layout.label];
    if (labels[i] >= layout.classes) {
      fail(file, "label " + std::to_string(labels[i]) + " in record " + std::to_string(i),
           "labels from 0 to " + std::to_string(layout.classes - 1));
    }
    std::memcpy(images + i * kPixelBytes, record + layout.label_bytes, kPixelBytes);
  }
  return set;
}

/// The lines of a list of class names that must hold `count` of them.
inline std::vector<std::string> parse_names(const File& file, std::size_t count) {
  std::vector<std::string> names(1);
  for (const std::uint8_t byte : file.bytes) {
    if (byte == '\n') {
      names.emplace_back();
    } else if (byte != '\r') {
      names.back() += static_cast<char>(byte);
    }
  }
  std::erase(names, "");
  if (names.size() != count) {
    fail(file, std::to_string(names.size()) + " class names", std::to_string(count));
  }
  return names;
}

}  // namespace cifar
