// child_process.h, by fork and exec: the child sets its own group, cores and signals before it becomes the program.
#include "sweep/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "kd/diagnostics.h"

namespace kd {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error(fmt::format("{}: {}", what, std::strerror(errno))); }

cpu_set_t set_of(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(static_cast<std::size_t>(core), &set);
  return set;
}

}  // namespace

ChildProcess::ChildProcess(const ChildOptions& options) {
  // Everything that allocates is done before fork().
  std::vector<std::string> words = options.command;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const cpu_set_t cores = set_of(options.cores);
  const int errors = ::open(options.errors.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (errors < 0) fail("cannot write " + options.errors.string());
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    ::close(errors);
    fail("cannot start " + words.front());
  }
  const pid_t parent = ::getpid();
  process_ = ::fork();
  if (process_ == 0) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);  // it died before the line above
    if (!options.cores.empty()) ::sched_setaffinity(0, sizeof cores, &cores);
    for (const int one : {SIGINT, SIGTERM, SIGHUP}) ::signal(one, SIG_DFL);
    ::dup2(ends[1], STDOUT_FILENO);
    ::dup2(errors, STDERR_FILENO);
    const int nothing = ::open("/dev/null", O_RDONLY);
    if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
    ::execv(arguments.front(), arguments.data());
    ::_exit(127);
  }
  ::close(errors);
  ::close(ends[1]);
  output_ = ends[0];
  if (process_ < 0) {
    ::close(output_);
    fail("cannot start " + words.front());
  }
  ::fcntl(output_, F_SETFL, O_NONBLOCK);
}

ChildProcess::~ChildProcess() {
  if (!exit_status()) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  ::close(output_);
}

std::vector<std::string> ChildProcess::read_lines() {
  std::array<char, 4096> buffer;
  for (ssize_t count = 0; (count = ::read(output_, buffer.data(), buffer.size())) > 0;)
    rest_.append(buffer.data(), static_cast<std::size_t>(count));
  std::vector<std::string> lines;
  for (std::size_t end = 0; (end = rest_.find('\n')) != std::string::npos; rest_.erase(0, end + 1))
    lines.push_back(rest_.substr(0, end));
  return lines;
}

std::optional<int> ChildProcess::exit_status() {
  if (status_) return status_;
  int status = 0;
  const pid_t ended = ::waitpid(process_, &status, WNOHANG);
  if (ended != process_) return std::nullopt;
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return status_;
}

void ChildProcess::ask_to_stop() {
  if (!status_) ::kill(process_, SIGTERM);
}

std::vector<int> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<std::size_t>(core), &set)) cores.push_back(core);
  }
  return cores;
}

std::vector<int> share_of_cores(std::size_t slot, std::size_t jobs) {
  const std::vector<int> cores = allowed_cores();
  const std::size_t all = cores.size();
  if (jobs >= all) return {cores[slot % all]};
  const auto begin = cores.begin() + static_cast<std::ptrdiff_t>(slot * all / jobs);
  return {begin, cores.begin() + static_cast<std::ptrdiff_t>((slot + 1) * all / jobs)};
}

namespace {

/// What an error says, from the end of a log: "error: …" and the lines below it.
std::string last_error(const std::filesystem::path& log, std::uintmax_t begin) {
  std::ifstream stream(log);
  stream.seekg(static_cast<std::streamoff>(begin));
  std::string text;
  bool in_error = false;
  for (std::string line; std::getline(stream, line);) {
    if (line.find("error: ") != std::string::npos) {
      text += (text.empty() ? "" : "\n") + line;
      in_error = true;
    } else if (in_error && line.starts_with("    ")) {
      text += "\n" + line;
    } else {
      in_error = false;
    }
  }
  return text;
}

}  // namespace

std::string reason_of(int status, const std::filesystem::path& log, std::uintmax_t begin) {
  const std::string said = last_error(log, begin);
  if (!said.empty()) return said;
  return fmt::format("it ended with {} and said nothing: see {}",
                     status > 128 ? fmt::format("signal {}", status - 128) : fmt::format("code {}", status),
                     log.string());
}

}  // namespace kd
