// fetch_data.h
#include "files/fetch_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "files/atomic_file.h"
#include "files/digest.h"
#include "kd/diagnostics.h"

namespace kd {
namespace {

/// Where the digests of files stand that have no published one, made when their verified archive was unpacked.
std::filesystem::path own_digests(const DataSource& source, const std::filesystem::path& root) {
  return root / source.folder / "SHA256SUMS";
}

bool lacks_digests(const DataSource& source) {
  return std::any_of(source.files.begin(), source.files.end(), [](const auto& file) { return file.sha256.empty(); });
}

/// As sha256sum writes it, so that `sha256sum -c` reads it.
void write_own_digests(const DataSource& source, const std::filesystem::path& root) {
  std::string text;
  for (const DataSource::File& file : source.files) {
    const std::filesystem::path path = root / file.path;
    if (std::filesystem::is_regular_file(path)) text += file_digest(path) + "  " + path.filename().string() + "\n";
  }
  write_file(own_digests(source, root), text);
}

/// The digest that a file should have; empty where none is known.
std::string wanted_digest(const DataSource::File& file, const std::filesystem::path& own) {
  if (!file.sha256.empty() || !std::filesystem::exists(own)) return file.sha256;
  std::istringstream lines(read_text(own));
  for (std::string digest, name; lines >> digest >> name;) {
    if (name == std::filesystem::path(file.path).filename()) return digest;
  }
  return "";
}

}  // namespace

std::vector<std::string> verify_data(const DataSource& source, const std::filesystem::path& root) {
  std::vector<std::string> problems;
  for (const DataSource::File& file : source.files) {
    const std::filesystem::path path = root / file.path;
    if (!std::filesystem::is_regular_file(path)) {
      problems.push_back(path.string() + ": missing");
    } else if (const std::string wanted = wanted_digest(file, own_digests(source, root)); wanted.empty()) {
      problems.push_back(path.string() + ": nothing is known of its SHA-256; kdrun data fetch " + source.name +
                         " gets it from a verified archive");
    } else if (file_digest(path) != wanted) {
      problems.push_back(path.string() + ": its SHA-256 is not that of the official file");
    }
  }
  return problems;
}

void fetch_data(const DataSource& source, const std::filesystem::path& root, const std::string& mirror,
                const DownloadProgress& progress) {
  for (const DataSource::Archive& archive : source.archives) {
    const std::string name = archive.url.substr(archive.url.rfind('/') + 1);
    const std::filesystem::path file = root / "downloads" / name;
    const std::string url = mirror.empty() ? archive.url : mirror + (mirror.ends_with('/') ? "" : "/") + name;
    download(url, file, progress);
    // A mirror may have packed the files anew, where what they hold can be checked below.
    if ((mirror.empty() || lacks_digests(source)) && !archive.sha256.empty() && file_digest(file) != archive.sha256) {
      std::filesystem::remove(file);
      throw FileError(fmt::format(
          "{}: its SHA-256 is not that of the official file; it was removed\n    hint: fetch it again, or give another "
          "address with --mirror",
          url));
    }
    unpack(file, archive.single_name.empty() ? root : root / source.folder, archive.single_name);
    std::filesystem::remove(file);
  }
  if (lacks_digests(source)) write_own_digests(source, root);
  const std::vector<std::string> problems = verify_data(source, root);
  if (!problems.empty()) throw FileError(fmt::format("{}", fmt::join(problems, "\n    ")));
}

}  // namespace kd
