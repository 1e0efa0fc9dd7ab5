// Locks that processes hold on files, also on a file system that several hosts share.
#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "kd/api.h"

namespace kd {

struct LockTiming {
  std::chrono::milliseconds beat = std::chrono::seconds(20);     ///< between two signs of life of a holder
  std::chrono::milliseconds patience = std::chrono::minutes(5);  ///< of those that wait with one that gives none
};

/// A lock on a file (flock) that ends with the process that holds it. The file says who that is, and its time moves on
/// as long as that process lives: a file server may not notice that a host is gone.
class KD_API FileLock {
 public:
  /// Hears who holds the lock: "host, process 123", or nothing where that is not known.
  using Waiting = std::function<void(const std::string& holder)>;
  /// Waits until the lock is free and calls `waiting` about ten times a second meanwhile; what that throws ends the
  /// waiting. Throws Error with ExitCode::kResumable where the holder has given no sign of life for `timing.patience`.
  FileLock(const std::filesystem::path& file, const Waiting& waiting, const LockTiming& timing = {});
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  struct Descriptor {
    int number;
    ~Descriptor();
  };

  void give_signs_of_life(std::chrono::milliseconds beat);

  const Descriptor descriptor_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;
  std::thread signs_;
};

/// For which processes locks on files in `folder` hold, by its file system: "ext4: locks hold among the processes of
/// this host". `mounts` is what /proc/self/mountinfo says.
KD_API std::string describe_locks(const std::filesystem::path& folder, std::string_view mounts);

/// Whether a lock on a new file in `folder` keeps a second one out, as it should; the file is removed.
KD_API bool locks_work_in(const std::filesystem::path& folder);

}  // namespace kd
