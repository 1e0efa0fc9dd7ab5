// complete.h: the scripts. A word that ends in = . or / goes on, so no space comes behind it.
#include <fmt/format.h>

#include <map>

#include "complete/complete.h"
#include "kd/diagnostics.h"

namespace kd {
namespace {

constexpr const char* kBash =
    R"(# Completion of kdrun in bash: put this into ~/.local/share/bash-completion/completions/kdrun, or source it.
_kdrun() {
  local word line prefix joined=0 files=0 i
  local -a words=() found=()
  # bash breaks words at = and :, and kdrun does not.
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if ((${#words[@]} > 0)) && { ((joined)) || [[ $word == [=:]* ]]; }; then
      words[-1]+=$word
    else
      words+=("$word")
    fi
    joined=0
    if [[ $word == [=:] ]]; then joined=1; fi
  done
  local current=${words[-1]} quotes
  quotes=${current//\\[\"\']/}
  quotes=${quotes//[!\"\']/}
  for i in "${!words[@]}"; do
    word=${words[i]//[\\\']/}
    words[i]=${word#\"}
  done
  while IFS= read -r line; do
    if [[ $line == :files ]]; then files=1; else found+=("${line%%$'\t'*}"); fi
  done < <(@COMMAND@ "${words[@]}" 2>/dev/null)
  COMPREPLY=()
  if ((${#found[@]} == 0 && files)); then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "${words[-1]}")
    return
  fi
  # What stands before the last break is no part of what bash replaces, but for a quote that is open.
  prefix=
  if [[ -z $quotes ]]; then prefix=${current%"${current##*[=:]}"}; fi
  for word in "${found[@]}"; do
    if [[ $word == *[=./] ]]; then compopt -o nospace 2>/dev/null; fi
    word=${word#"$prefix"}
    if [[ -z $quotes ]]; then printf -v word %q "$word"; fi
    COMPREPLY+=("$word")
  done
}
complete -F _kdrun kdrun
)";

constexpr const char* kZsh = R"(#compdef kdrun
# Completion of kdrun in zsh: put this as _kdrun into a folder of $fpath, or source it after compinit.
_kdrun() {
  local line word entry
  local -a lines whole open
  integer files=0
  lines=("${(@f)$(@COMMAND@ "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
  for line in $lines; do
    if [[ $line == :files ]]; then
      files=1
      continue
    fi
    word=${line%%$'\t'*}
    entry=${word//:/\\:}
    if [[ $line == *$'\t'* ]]; then entry+=":${line#*$'\t'}"; fi
    if [[ $word == *[=./] ]]; then open+=("$entry"); else whole+=("$entry"); fi
  done
  if (( $#whole )); then _describe kdrun whole; fi
  if (( $#open )); then _describe kdrun open -S ''; fi
  if (( files && ! $#whole && ! $#open )); then _files; fi
}
if [[ $funcstack[1] == _kdrun ]]; then _kdrun; else compdef _kdrun kdrun; fi
)";

constexpr const char* kFish =
    R"(# Completion of kdrun in fish: put this into ~/.config/fish/completions/kdrun.fish, or source it.
function __kdrun_complete
    set -l words (commandline -opc)
    set -e words[1]
    set -l lines (@COMMAND@ $words (commandline -ct | string unescape; or echo '') 2>/dev/null)
    set -l found (string match -v :files -- $lines)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else if contains :files $lines
        __fish_complete_path (commandline -ct)
    end
end
complete -c kdrun -f -a '(__kdrun_complete)'
)";

/// In single quotes, as all three shells read it: fish reads \' inside of them, so that quotes stand outside.
std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

}  // namespace

std::string shell_script(const std::string& shell, const std::vector<std::string>& command) {
  static const std::map<std::string, std::string> scripts = {{"bash", kBash}, {"zsh", kZsh}, {"fish", kFish}};
  const auto found = scripts.find(shell);
  if (found == scripts.end()) throw RecipeError({}, fmt::format("there is no shell '{}'", shell), "bash, zsh or fish");
  std::string words;
  for (const std::string& word : command) words += (words.empty() ? "" : " ") + quoted(word);
  constexpr std::string_view kMark = "@COMMAND@";
  std::string text = found->second;
  return text.replace(text.find(kMark), kMark.size(), words);
}

}  // namespace kd
