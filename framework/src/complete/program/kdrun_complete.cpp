// kdrun_complete WORDS…: what `kdrun complete` answers, without LibTorch, which alone takes longer to load than a
// person waits for a completion. What kdrun and its plugins hold it asks kdrun itself once, and keeps.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "complete/complete.h"
#include "files/atomic_file.h"
#include "kd/diagnostics.h"

namespace {

namespace fs = std::filesystem;

/// The program that this one speaks for: beside it, or beside the folder of helpers where it is installed.
fs::path kdrun() {
  const fs::path folder = fs::read_symlink("/proc/self/exe").parent_path();
  const fs::path beside = folder / "kdrun";
  return fs::exists(beside) ? beside : (folder / KD_PROGRAM_INSTALLED).lexically_normal();
}

/// Empty where there is no home.
fs::path cache_file() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache != '\0') return fs::path(cache) / "kdrun" / "completion.json";
  const char* home = std::getenv("HOME");
  return home == nullptr || *home == '\0' ? fs::path() : fs::path(home) / ".cache" / "kdrun" / "completion.json";
}

/// What kdrun says of itself.
std::string ask(const fs::path& program) {
  int ends[2];
  if (::pipe(ends) != 0) throw kd::Error("there is no pipe to be had");
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::execl(program.c_str(), program.c_str(), "complete", "--known", static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[1 << 16];
  for (ssize_t count; (count = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(count));
  ::close(ends[0]);
  return text;
}

/// The same, out of the cache where it is of this state of the program: one line with the state, then what is known.
kd::Known known() {
  const fs::path program = kdrun(), file = cache_file();
  const std::string state = kd::state_of_program(program);
  try {
    const std::string text = kd::read_text(file);
    if (text.starts_with(state + "\n")) return kd::known_from_json(text.substr(state.size() + 1));
  } catch (const kd::Error&) {
    // There is none yet, or a damaged one.
  }
  const std::string answer = ask(program);
  kd::Known known = kd::known_from_json(answer);
  try {
    if (!file.empty()) {
      fs::create_directories(file.parent_path());
      kd::write_file(file, state + "\n" + answer);
    }
  } catch (const std::exception&) {
    // Where nothing can be kept, each answer takes as long as the first.
  }
  return known;
}

}  // namespace

int main(int count, char** values) {
  try {
    const std::string lines = kd::to_lines(kd::complete({values + 1, values + count}, known()));
    std::fwrite(lines.data(), 1, lines.size(), stdout);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
