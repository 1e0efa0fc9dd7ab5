// Completes the settings of a recipe as overrides write them: stage.student.scheme.losses.kd.temperature=
#pragma once

#include <string>
#include <vector>

#include "complete/known.h"
#include "kd/value.h"

namespace kd {

/// A word that a command line may go on with.
struct KD_API Candidate {
  std::string word;
  std::string help;
};

/// What `typed`, the beginning of an override of `recipe`, may become: the next step of its path, or behind `=` a
/// value. `recipe` is null where it cannot be read: its stages are not known then.
std::vector<Candidate> complete_override(const std::string& typed, const Value& recipe, const Known& known);

}  // namespace kd
