// A program that runs beside this one, and what it writes.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "kd/api.h"

namespace kd {

struct ChildOptions {
  std::vector<std::string> command;  ///< the program's path and its arguments
  std::filesystem::path errors;      ///< standard error is appended to this file
  std::vector<int> cores = {};       ///< processors that it may use; empty: all of this process
};

/// In a process group of its own, so that Ctrl-C reaches it through this program alone. It is asked to stop (SIGTERM)
/// where this program dies, and killed where it is destroyed while it runs.
class KD_API ChildProcess {
 public:
  /// Throws Error where it cannot be started.
  explicit ChildProcess(const ChildOptions& options);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Of its standard output, for poll().
  int descriptor() const { return output_; }
  /// The lines that it has written since the last call and ended; does not wait.
  std::vector<std::string> read_lines();
  /// Its exit status, 128 and the signal where one ended it, or nothing while it runs; does not wait.
  std::optional<int> exit_status();
  /// Sends SIGTERM.
  void ask_to_stop();

 private:
  pid_t process_ = -1;
  int output_ = -1;
  std::string rest_;  // of a line that is not ended
  std::optional<int> status_;
};

/// Processors that this process may use.
KD_API std::vector<int> allowed_cores();
/// Of them an even share for one of so many programs side by side, one at least.
KD_API std::vector<int> share_of_cores(std::size_t slot, std::size_t jobs);

/// Why a program ended with `status`: the errors that its log has behind `begin`, or where to look.
KD_API std::string reason_of(int status, const std::filesystem::path& log, std::uintmax_t begin);

}  // namespace kd
