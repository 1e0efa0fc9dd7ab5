// A network that the parameters of an analysis name.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kd/diagnostics.h"

namespace find_network {

/// The network of that name in the stage; its only one where the name is empty. `Named` has a stage and a network.
template <class Named>
const Named& find(const std::vector<Named>& networks, const std::string& stage, const std::string& name,
                  const std::string& analysis) {
  std::vector<std::string> stages, names;
  const Named* found = nullptr;
  for (const Named& network : networks) {
    stages.push_back(network.stage);
    if (network.stage != stage) continue;
    names.push_back(network.network);
    if (name.empty() || network.network == name) found = &network;
  }
  stages.erase(std::unique(stages.begin(), stages.end()), stages.end());
  const std::string where = "analysis '" + analysis + "': ";
  if (names.empty())
    throw kd::RecipeError(where + "there is no stage '" + stage +
                          "'\n    hint: " + kd::name_hint(stage, stages, "stages"));
  if (found == nullptr)
    throw kd::RecipeError(where + "stage '" + stage + "' has no network '" + name +
                          "'\n    hint: " + kd::name_hint(name, names, "networks"));
  if (name.empty() && names.size() > 1)
    throw kd::RecipeError(where + "stage '" + stage +
                          "' has several networks: say which\n    hint: " + kd::name_hint("", names, "networks"));
  return *found;
}

/// Throws where a list of an analysis has another number of entries than it names stages.
inline void require_one_for_each(const std::string& parameter, std::size_t given, std::size_t stages) {
  if (given == stages) return;
  throw kd::RecipeError("'" + parameter + "' has " + std::to_string(given) + " entries, and 'stages' has " +
                        std::to_string(stages));
}

}  // namespace find_network
