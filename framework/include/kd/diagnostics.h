// Errors of kdrun: what a user did wrong, where it stands, and what to do about it.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
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

/// What is wrong, where it was written (if it was), and what to do about it (if that is known).
struct KD_API Problem {
  Location location;
  std::string message;
  std::string hint = {};
};

/// An error for the user, with the exit code of the process. Its problems are values: whoever adds a place or a name to
/// one makes another problem of it and glues no texts.
class KD_API Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ExitCode code = ExitCode::kFailed);
  explicit Error(std::vector<Problem> problems, ExitCode code = ExitCode::kFailed);
  ~Error() override;

  ExitCode code() const { return code_; }
  const std::vector<Problem>& problems() const { return problems_; }
  /// As a terminal shows it: `place: error: message`, with its hint below, a problem a line in the order of the file.
  std::string text() const;

 private:
  std::vector<Problem> problems_;
  ExitCode code_;
};

/// A wrong recipe, override or command line (exit code 2).
class KD_API RecipeError : public Error {
 public:
  explicit RecipeError(const std::string& message) : Error(message, ExitCode::kUsage) {}
  explicit RecipeError(std::vector<Problem> problems) : Error(std::move(problems), ExitCode::kUsage) {}
  RecipeError(const Location& location, const std::string& message, const std::string& hint = {})
      : Error({{location, message, hint}}, ExitCode::kUsage) {}
  ~RecipeError() override;
};

/// A corrupt, truncated or mismatched file (exit code 4).
class KD_API FileError : public Error {
 public:
  explicit FileError(const std::string& message) : Error(message, ExitCode::kCorrupt) {}
  explicit FileError(std::vector<Problem> problems) : Error(std::move(problems), ExitCode::kCorrupt) {}
  FileError(const Location& location, const std::string& message, const std::string& hint = {})
      : Error({{location, message, hint}}, ExitCode::kCorrupt) {}
  ~FileError() override;
};

/// Problems of one recipe, collected so that all are reported at once, in the order of the file.
class KD_API Diagnostics {
 public:
  void error(const Location& location, std::string message, std::string hint = {});
  /// Takes over the problems of `error`, each under `what` ("stage 'student'") and at `location` where it has no place
  /// of its own.
  void add(const std::exception& error, const Location& location, const std::string& what);

  bool ok() const { return problems_.empty(); }
  const std::vector<Problem>& problems() const { return problems_; }
  /// One problem per line, `file:line:col: error: …` with its hint below; sorted by place.
  std::string to_string() const;
  /// Throws a RecipeError with every problem if there is any, or a FileError where only files are wrong.
  void throw_if_any() const;

 private:
  std::vector<Problem> problems_;
  bool only_files_ = true;
};

/// What an exception says to a user: without the stack that LibTorch appends.
KD_API std::string message_of(const std::exception& error);

/// Calls `f`, which runs code of a plugin; what is thrown and is no std::exception becomes an Error that names `what`.
template <class F>
decltype(auto) call_component(const std::string& what, const F& f) {
  try {
    return f();
  } catch (const std::exception&) {
    throw;
  } catch (...) {
    throw Error(what + " threw something that is no exception");
  }
}

/// The known name closest to `name`, or empty where none is close enough to be meant.
KD_API std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

/// "did you mean 'kd'?", or "known: a, b, c" where no known name is near.
KD_API std::string name_hint(std::string_view name, const std::vector<std::string>& known,
                             std::string_view noun = "known");

}  // namespace kd
