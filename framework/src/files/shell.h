// Commands that a shell runs: words in quotes, and what a command says.
#pragma once

#include <string>

#include "kd/api.h"

namespace kd {

/// As a shell takes it in one piece.
KD_API std::string in_quotes(const std::string& word);

struct CommandOutput {
  int status;        ///< the exit status; 127 where there is no such command
  std::string text;  ///< of standard output
};

/// Runs a command by /bin/sh and waits for its end.
KD_API CommandOutput run_in_shell(const std::string& command);

}  // namespace kd
