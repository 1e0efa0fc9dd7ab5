// Downloads that can be broken off: a part that is there is gone on from, and nothing is believed before its SHA-256.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "kd/api.h"

namespace kd {

/// Told how many bytes are there of how many (0: not known).
using DownloadProgress = std::function<void(std::int64_t bytes, std::int64_t total)>;

/// Downloads `url` to `file` over `file`.part, which a later call goes on from. Throws kd::Error with the cause and the
/// remedy.
KD_API void download(const std::string& url, const std::filesystem::path& file, const DownloadProgress& progress);

/// Unpacks a .gz or .tar.gz into `folder`. A single compressed file is named `single_name`. Entries that would leave
/// the folder, links and devices are refused.
KD_API void unpack(const std::filesystem::path& archive, const std::filesystem::path& folder,
                   const std::string& single_name);

}  // namespace kd
