// What a command line of kdrun may go on with, for shells.
#pragma once

#include <string>
#include <vector>

#include "complete/known.h"
#include "complete/override_words.h"

namespace kd {

struct KD_API Completion {
  std::vector<Candidate> candidates;
  bool files = false;  ///< whether any name of a file fits where there are none
};

/// `words` are those behind the program's name up to the one that is being typed, which is the last and may be empty.
/// Reads the recipe that they name and the folders of runs; what cannot be read gives no candidates.
KD_API Completion complete(const std::vector<std::string>& words, const Known& known);

/// As lines for the scripts of shell_script(): "word\thelp", and ":files" where files fit.
KD_API std::string to_lines(const Completion& completion);

/// The script that makes `shell` (bash, zsh or fish) ask `command`, with the words behind it, for what fits.
KD_API std::string shell_script(const std::string& shell, const std::vector<std::string>& command);

}  // namespace kd
