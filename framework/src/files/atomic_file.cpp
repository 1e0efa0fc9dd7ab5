// atomic_file.h on POSIX.
#include "files/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "kd/diagnostics.h"

namespace kd {
namespace {

/// Removes a file that did not get its name.
class Remover {
 public:
  explicit Remover(std::filesystem::path file) : file_(std::move(file)) {}
  ~Remover() {
    std::error_code ignored;
    std::filesystem::remove(file_, ignored);
  }
  Remover(const Remover&) = delete;
  Remover& operator=(const Remover&) = delete;

 private:
  const std::filesystem::path file_;
};

[[noreturn]] void fail(const std::string& what, const std::filesystem::path& path) {
  throw Error("cannot " + what + " " + path.string() + ": " + std::strerror(errno));
}

}  // namespace

void flush_to_disk(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("open", path);
  const int result = ::fsync(descriptor);
  ::close(descriptor);
  if (result != 0) fail("flush", path);
}

void write_file(const std::filesystem::path& file, std::string_view content) {
  std::filesystem::path temporary = file;
  temporary += ".tmp." + std::to_string(::getpid());
  const Remover remover(temporary);
  {
    std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
    stream.write(content.data(), static_cast<std::streamsize>(content.size()));
    if (!stream.flush()) fail("write", temporary);
  }
  flush_to_disk(temporary);
  std::error_code error;
  std::filesystem::rename(temporary, file, error);
  if (error) throw Error("cannot rename " + temporary.string() + " to " + file.string() + ": " + error.message());
}

void replace_link(const std::filesystem::path& link, const std::filesystem::path& target) {
  std::filesystem::path temporary = link;
  temporary += ".tmp." + std::to_string(::getpid());
  std::filesystem::remove(temporary);
  std::filesystem::create_symlink(target, temporary);
  std::filesystem::rename(temporary, link);
}

namespace {

/// Where a folder waits that another one replaces, on file systems that cannot exchange two.
std::filesystem::path aside(const std::filesystem::path& kept) { return kept.string() + ".replaced"; }

}  // namespace

void replace_folder(const std::filesystem::path& kept, const std::filesystem::path& fresh) {
  if (!std::filesystem::exists(kept)) {
    std::filesystem::rename(fresh, kept);
  } else if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, kept.c_str(), RENAME_EXCHANGE) == 0) {
    std::filesystem::remove_all(fresh);
  } else {
    std::filesystem::remove_all(aside(kept));
    std::filesystem::rename(kept, aside(kept));
    std::filesystem::rename(fresh, kept);
    std::filesystem::remove_all(aside(kept));
  }
  flush_to_disk(kept.parent_path());
}

void recover_folder(const std::filesystem::path& kept) {
  if (!std::filesystem::exists(aside(kept))) return;
  if (std::filesystem::exists(kept)) {
    std::filesystem::remove_all(aside(kept));
  } else {
    std::filesystem::rename(aside(kept), kept);
  }
}

std::string read_text(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream || std::filesystem::is_directory(file)) throw FileError("cannot read " + file.string());
  return {std::istreambuf_iterator<char>(stream), {}};
}

void require_writable(const std::filesystem::path& folder) {
  std::filesystem::path existing = std::filesystem::absolute(folder).lexically_normal();
  while (!std::filesystem::exists(existing) && existing.has_relative_path()) existing = existing.parent_path();
  if (!std::filesystem::is_directory(existing))
    throw Error("cannot make " + folder.string() + ": " + existing.string() + " is no folder");
  if (::access(existing.c_str(), W_OK | X_OK) != 0) fail("write into", existing);
}

}  // namespace kd
