// kd/analysis.h: finding networks by name, and weights that come back.
#include "kd/analysis.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "kd/diagnostics.h"

namespace kd {

AnalysisContext::~AnalysisContext() = default;
Analysis::~Analysis() = default;
TrainedModel::~TrainedModel() = default;

void Analysis::check(const std::vector<NetworkName>& /*networks*/) const {}

std::size_t find_network(const std::vector<NetworkName>& networks, const std::string& stage,
                         const std::string& network) {
  std::vector<std::string> stages, names;
  std::size_t found = networks.size();
  for (std::size_t i = 0; i < networks.size(); ++i) {
    stages.push_back(networks[i].stage);
    if (networks[i].stage != stage) continue;
    names.push_back(networks[i].network);
    if (network.empty() || networks[i].network == network) found = i;
  }
  stages.erase(std::unique(stages.begin(), stages.end()), stages.end());
  if (names.empty()) throw RecipeError({}, "there is no stage '" + stage + "'", name_hint(stage, stages, "stages"));
  if (found == networks.size())
    throw RecipeError({}, "stage '" + stage + "' has no network '" + network + "'",
                      name_hint(network, names, "networks"));
  if (network.empty() && names.size() > 1)
    throw RecipeError({}, "stage '" + stage + "' has several networks: say which", name_hint("", names, "networks"));
  return found;
}

void require_one_for_each(const std::string& parameter, std::size_t given, const std::string& other,
                          std::size_t wanted) {
  if (given == wanted) return;
  throw RecipeError("'" + parameter + "' has " + std::to_string(given) + " entries, and '" + other + "' has " +
                    std::to_string(wanted));
}

TrainedModel& AnalysisContext::network(const std::string& stage, const std::string& network) {
  std::vector<NetworkName> names;
  for (const TrainedModel* one : networks()) names.push_back(one->name());
  return *networks()[find_network(names, stage, network)];
}

SavedWeights::SavedWeights(std::vector<NamedParameter> weights) : weights_(std::move(weights)) {
  const at::NoGradGuard no_gradient;
  for (const NamedParameter& weight : weights_) saved_.push_back(weight.tensor.clone());
}

SavedWeights::~SavedWeights() {
  const at::NoGradGuard no_gradient;
  for (std::size_t i = 0; i < weights_.size(); ++i) weights_[i].tensor.copy_(saved_[i]);
}

}  // namespace kd
