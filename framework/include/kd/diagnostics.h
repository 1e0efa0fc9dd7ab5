// Errors of kdrun: what a user did wrong, where it stands, and what to do about it.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kd/api.h"
#include "kd/value.h"

namespace kd {

/// Process exit codes, one per cause.
enum class ExitCode {
  kOk = 0,
  kFailed = 1,
  kUsage = 2,
  kNotFinite = 3,
  kCorrupt = 4,
  kResumable = 75,
  kInterrupted = 130,
};

/// An error with a message for the user and the exit code of the process.
class KD_API Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ExitCode code = ExitCode::kFailed);
  ~Error() override;
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// A wrong recipe, override or command line (exit code 2).
class KD_API RecipeError : public Error {
 public:
  explicit RecipeError(const std::string& message) : Error(message, ExitCode::kUsage) {}
  ~RecipeError() override;
};

/// A corrupt, truncated or mismatched file (exit code 4).
class KD_API FileError : public Error {
 public:
  explicit FileError(const std::string& message) : Error(message, ExitCode::kCorrupt) {}
  ~FileError() override;
};

/// Problems of one recipe, collected so that all are reported at once, in the order of the file.
class KD_API Diagnostics {
 public:
  struct Problem {
    Location location;
    std::string message;
    std::string hint;
  };

  void error(const Location& location, std::string message, std::string hint = {});
  bool ok() const { return problems_.empty(); }
  const std::vector<Problem>& problems() const { return problems_; }
  /// One problem per line, `file:line:col: error: …` with its hint below; sorted by place.
  std::string to_string() const;
  /// Throws RecipeError with to_string() if there is any problem.
  void throw_if_any() const;

 private:
  std::vector<Problem> problems_;
};

/// What an exception says to a user: without the stack that LibTorch appends.
KD_API std::string message_of(const std::exception& error);

/// The known name closest to `name`, or empty where none is close enough to be meant.
KD_API std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

/// "did you mean 'kd'?", or "known: a, b, c" where no known name is near.
KD_API std::string name_hint(std::string_view name, const std::vector<std::string>& known,
                             std::string_view noun = "known");

}  // namespace kd
