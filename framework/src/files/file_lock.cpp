// file_lock.h on Linux.
#include "files/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <sstream>
#include <vector>

#include "files/atomic_file.h"
#include "kd/diagnostics.h"

namespace kd {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& what, const std::filesystem::path& file) {
  throw Error(fmt::format("cannot {} {}: {}", what, file.string(), std::strerror(errno)));
}

bool try_lock(int descriptor) { return ::flock(descriptor, LOCK_EX | LOCK_NB) == 0; }

std::string own_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return fmt::format("{}, process {}", host.data(), ::getpid());
}

/// Whether a file's time has stood still for so long, as seen by the clock of this host alone.
class Silence {
 public:
  explicit Silence(std::filesystem::path file) : file_(std::move(file)) {}

  bool lasts(std::chrono::milliseconds long_enough) {
    std::error_code unknown;
    const auto time = std::filesystem::last_write_time(file_, unknown);
    const Clock::time_point now = Clock::now();
    if (unknown || time != seen_) {
      seen_ = time;
      since_ = now;
    }
    return now - since_ >= long_enough;
  }

 private:
  const std::filesystem::path file_;
  std::filesystem::file_time_type seen_{};
  Clock::time_point since_ = Clock::now();
};

std::string holder_of(const std::filesystem::path& file) {
  try {
    return read_text(file);
  } catch (const FileError&) {
    return {};
  }
}

}  // namespace

FileLock::Descriptor::~Descriptor() { ::close(number); }

FileLock::FileLock(const std::filesystem::path& file, const Waiting& waiting, const LockTiming& timing)
    : descriptor_{::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)} {
  if (descriptor_.number < 0) fail("open", file);
  Silence silence(file);
  while (!try_lock(descriptor_.number)) {
    if (errno != EWOULDBLOCK && errno != EINTR) fail("lock", file);
    const std::string holder = holder_of(file);
    waiting(holder);
    if (silence.lasts(timing.patience)) {
      throw Error(
          fmt::format(
              "{} is locked by {}, which has given no sign of life for {} s; where that process is gone, remove "
              "the file and give the same command again",
              file.string(), holder.empty() ? "another process" : holder,
              std::chrono::duration_cast<std::chrono::seconds>(timing.patience).count()),
          ExitCode::kResumable);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  const std::string name = own_name();
  if (::ftruncate(descriptor_.number, 0) != 0 ||
      ::pwrite(descriptor_.number, name.data(), name.size(), 0) != static_cast<ssize_t>(name.size()))
    fail("write into", file);
  give_signs_of_life(timing.beat);
}

void FileLock::give_signs_of_life(std::chrono::milliseconds beat) {
  // Signals are for the threads that know what to do about them.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  signs_ = std::thread([this, beat] {
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, beat, [this] { return end_; })) ::futimens(descriptor_.number, nullptr);
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

FileLock::~FileLock() {
  if (!signs_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  ended_.notify_one();
  signs_.join();
}

namespace {

struct Mount {
  std::string type, options;  // options as "rw,vers=4.2,local_lock=none"
};

/// The mount that `folder` lies in. Lines are "36 35 98:0 /root /mnt/point rw - nfs4 host:/export rw,vers=4.2".
std::optional<Mount> mount_of(const std::filesystem::path& folder, std::string_view mounts) {
  const std::string place = std::filesystem::weakly_canonical(folder).string() + "/";
  std::optional<Mount> found;
  std::size_t longest = 0;
  std::istringstream lines{std::string(mounts)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string skipped, point, own_options, source;
    words >> skipped >> skipped >> skipped >> skipped >> point >> own_options;
    while (words >> skipped && skipped != "-") {
    }
    Mount mount;
    if (!(words >> mount.type >> source >> mount.options)) continue;
    if (point.back() != '/') point += '/';
    if (!place.starts_with(point) || point.size() < longest) continue;
    longest = point.size();
    mount.options = own_options + "," + mount.options;
    found = mount;
  }
  return found;
}

bool has_option(const Mount& mount, std::string_view option) {
  return ("," + mount.options + ",").find("," + std::string(option) + ",") != std::string::npos;
}

}  // namespace

std::string describe_locks(const std::filesystem::path& folder, std::string_view mounts) {
  constexpr const char* kShared = "{}: locks hold across hosts";
  constexpr const char* kLocal = "{}: locks hold among the processes of this host";
  constexpr const char* kMounted = "{}, mounted with '{}': locks hold on this host alone; several hosts need '{}'";
  const std::optional<Mount> mount = mount_of(folder, mounts);
  if (!mount) return "of an unknown file system";
  const std::string& type = mount->type;
  if (type == "nfs" || type == "nfs4") {
    for (const char* local : {"nolock", "local_lock=all", "local_lock=flock"}) {
      if (has_option(*mount, local)) return fmt::format(kMounted, type, local, "local_lock=none");
    }
    return fmt::format(kShared, type);
  }
  if (type == "lustre") {
    if (has_option(*mount, "flock")) return fmt::format(kShared, type);
    const bool local = has_option(*mount, "localflock");
    return local ? fmt::format(kMounted, type, "localflock", "flock")
                 : "lustre, mounted without 'flock': there are no locks; mount it with 'flock'";
  }
  constexpr std::array kSharing = {"gpfs", "ceph", "fuse.ceph", "gfs2", "ocfs2", "afs"};
  if (std::find(kSharing.begin(), kSharing.end(), type) != kSharing.end()) return fmt::format(kShared, type);
  constexpr std::array kUnsure = {"cifs", "smb3", "beegfs", "9p", "virtiofs", "glusterfs"};
  const bool unsure = std::find(kUnsure.begin(), kUnsure.end(), type) != kUnsure.end() || type.starts_with("fuse");
  return fmt::format(fmt::runtime(unsure ? "{}: whether locks hold across hosts depends on how it is set up" : kLocal),
                     type);
}

bool locks_work_in(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / fmt::format(".lock_test_{}", ::getpid());
  const auto open = [&] { return ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644); };
  const int first = open(), second = open();
  const bool works = first >= 0 && second >= 0 && try_lock(first) && !try_lock(second);
  for (const int descriptor : {first, second}) {
    if (descriptor >= 0) ::close(descriptor);
  }
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
  return works;
}

}  // namespace kd
