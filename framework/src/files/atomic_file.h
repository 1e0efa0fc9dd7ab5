// Files that are there whole or not at all, whatever happens while they are written.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "kd/api.h"

namespace kd {

/// Writes a file under another name, flushes it to the disk and renames it. Throws kd::Error where that fails.
KD_API void write_file(const std::filesystem::path& file, std::string_view content);

/// Flushes a file or folder to the disk.
KD_API void flush_to_disk(const std::filesystem::path& path);

/// Makes `link` a symbolic link to `target`, replacing a link that is there in one step.
KD_API void replace_link(const std::filesystem::path& link, const std::filesystem::path& target);

/// Puts the folder `fresh` in the place of the folder `kept`, which may be missing, and removes what was there.
/// Wherever a kill strikes, one of them is under the name of `kept`, or recover_folder() brings it back.
KD_API void replace_folder(const std::filesystem::path& kept, const std::filesystem::path& fresh);
/// Ends a replace_folder() that was cut off.
KD_API void recover_folder(const std::filesystem::path& kept);

/// The whole text of a file. Throws kd::FileError where it cannot be read.
KD_API std::string read_text(const std::filesystem::path& file);

/// Throws kd::Error where `folder` could not be made or written into; makes nothing.
KD_API void require_writable(const std::filesystem::path& folder);

}  // namespace kd
