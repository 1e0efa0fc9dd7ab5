// Which networks an analysis looks at: those of the stages named, or all of the run, or one of each stage named.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kd/analysis.h"
#include "kd/diagnostics.h"
#include "kd/schema.h"
#include "same_samples.h"

namespace kd::analyses {

/// Declares the parameter `stages` of an analysis.
template <class Params>
void declare_stages(Schema<Params>& s) {
  s.field("stages", &Params::stages, "the stages whose networks are looked at; an empty list: every stage of the run")
      .def(std::vector<std::string>{});
}

/// Throws RecipeError where one of `stages` is none of the run's.
inline void check_stages(const std::vector<std::string>& stages, const std::vector<NetworkName>& networks) {
  std::vector<std::string> known;
  for (const NetworkName& network : networks) {
    if (std::find(known.begin(), known.end(), network.stage) == known.end()) known.push_back(network.stage);
  }
  for (const std::string& stage : stages) {
    if (std::find(known.begin(), known.end(), stage) == known.end())
      throw RecipeError({}, "there is no stage '" + stage + "'", name_hint(stage, known, "stages"));
  }
}

/// In the order of the run, each once.
inline std::vector<TrainedModel*> chosen_networks(AnalysisContext& context, const std::vector<std::string>& stages) {
  std::vector<TrainedModel*> networks = context.networks();
  if (stages.empty()) return networks;
  std::erase_if(networks, [&](const TrainedModel* network) {
    return std::find(stages.begin(), stages.end(), network->name().stage) == stages.end();
  });
  return networks;
}

/// Declares the parameter `networks` beside `stages`.
template <class Params>
void declare_networks(Schema<Params>& s) {
  s.field("networks", &Params::networks,
          "which network of each of these stages, a stage for each; an empty list: all of theirs")
      .def(std::vector<std::string>{});
}

/// Throws RecipeError where `networks` is not empty and has another length than `stages`.
inline void require_network_for_each(const std::vector<std::string>& stages, const std::vector<std::string>& networks) {
  if (!networks.empty()) require_one_for_each("networks", networks.size(), "stages", stages.size());
}

/// Throws RecipeError where `stages` or `networks` name none of the run's.
inline void check_networks(const std::vector<std::string>& stages, const std::vector<std::string>& networks,
                           const std::vector<NetworkName>& known) {
  check_stages(stages, known);
  for (std::size_t i = 0; i < networks.size(); ++i) find_network(known, stages[i], networks[i]);
}

/// As named, or all of the stages. Those are left out whose test samples are not the first one's.
inline std::vector<TrainedModel*> comparable_networks(AnalysisContext& context, const std::vector<std::string>& stages,
                                                      const std::vector<std::string>& networks) {
  std::vector<TrainedModel*> chosen;
  if (networks.empty()) chosen = chosen_networks(context, stages);
  for (std::size_t i = 0; i < networks.size(); ++i) chosen.push_back(&context.network(stages[i], networks[i]));
  TrainedModel* first = chosen.front();
  std::erase_if(chosen, [&](TrainedModel* one) { return !have_same_samples(*first, *one, Split::kTest); });
  return chosen;
}

}  // namespace kd::analyses
