// Reads IDX, the file format of MNIST (LeCun, Bottou, Bengio and Haffner, 1998) and of the sets that replace it.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "kd/dataset.h"
#include "kd/diagnostics.h"

namespace idx {

inline constexpr std::int64_t kSide = 28;
inline constexpr std::int64_t kClasses = 10;

/// A file's bytes, and what its errors say.
struct File {
  std::filesystem::path path;
  std::string remedy;
  std::vector<std::uint8_t> bytes;
};

/// One of the big-endian 32-bit words that a file starts with.
struct HeaderWord {
  std::string name;
  std::int64_t wanted;
};

[[noreturn]] inline void fail(const File& file, const std::string& found, const std::string& wanted) {
  throw kd::FileError(file.path.string() + ": found " + found + ", want " + wanted + "; " + file.remedy);
}

inline std::int64_t read_word(const File& file, std::size_t offset) {
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < 4; ++i) word = word << 8 | file.bytes[offset + i];
  return word;
}

/// Checks header and size of a file, and returns where its body starts.
inline std::size_t check_format(const File& file, const std::vector<HeaderWord>& header) {
  const std::size_t body = 4 * header.size();
  if (file.bytes.size() < body) {
    fail(file, std::to_string(file.bytes.size()) + " bytes", "a header of " + std::to_string(body) + " bytes");
  }
  std::int64_t body_size = 1;
  for (std::size_t i = 0; i < header.size(); ++i) {
    const std::int64_t word = read_word(file, 4 * i);
    if (word != header[i].wanted) {
      fail(file, header[i].name + ' ' + std::to_string(word), std::to_string(header[i].wanted));
    }
    if (i > 0) body_size *= word;
  }
  const std::size_t size = body + static_cast<std::size_t>(body_size);
  if (file.bytes.size() != size) {
    fail(file, std::to_string(file.bytes.size()) + " bytes", std::to_string(size) + " by its header");
  }
  return body;
}

/// uint8, count×1×28×28.
inline at::Tensor parse_images(const File& file, std::int64_t count) {
  const std::size_t body = check_format(
      file,
      {{"magic number", 0x803}, {"count of images", count}, {"count of rows", kSide}, {"count of columns", kSide}});
  at::Tensor images = at::empty({count, 1, kSide, kSide}, at::kByte);
  std::memcpy(images.data_ptr(), file.bytes.data() + body, file.bytes.size() - body);
  return images;
}

/// int64, count.
inline at::Tensor parse_labels(const File& file, std::int64_t count) {
  const std::size_t body = check_format(file, {{"magic number", 0x801}, {"count of labels", count}});
  at::Tensor labels = at::empty({count}, at::kLong);
  std::int64_t* label = labels.mutable_data_ptr<std::int64_t>();
  for (std::size_t i = body; i < file.bytes.size(); ++i) {
    if (file.bytes[i] >= kClasses) {
      fail(file, "label " + std::to_string(file.bytes[i]) + " at byte " + std::to_string(i), "labels from 0 to 9");
    }
    *label++ = file.bytes[i];
  }
  return labels;
}

/// A part of a data set: its file, and the SHA-256 of its archive (empty: none is published) and of itself.
using Part = std::array<std::string, 3>;

/// Where a data set of such files comes from: each is packed alone, under `url`.
inline kd::DataSource source(const std::string& folder, const std::string& url, const std::vector<Part>& parts) {
  kd::DataSource source{.folder = folder, .archives = {}, .files = {}};
  for (const auto& [file, archive_sha256, sha256] : parts) {
    source.archives.push_back({url + file + ".gz", archive_sha256, file});
    source.files.push_back({folder + "/" + file, sha256});
  }
  return source;
}

/// One split of the data set that lies in `folder` under its official file names; `name` is what recipes call it.
inline kd::ImageSet load(const std::filesystem::path& folder, const std::string& name, kd::Split split) {
  const bool train = split == kd::Split::kTrain;
  const std::int64_t count = train ? 60'000 : 10'000;
  const std::string remedy = "run: kdrun data fetch " + name + ", or give --data-root";
  const auto read = [&](const std::string& suffix) -> File {
    const std::filesystem::path path = folder / ((train ? "train" : "t10k") + suffix);
    return {path, remedy, kd::read_data_file(path, remedy)};
  };
  return {.images = parse_images(read("-images-idx3-ubyte"), count),
          .labels = parse_labels(read("-labels-idx1-ubyte"), count)};
}

}  // namespace idx
