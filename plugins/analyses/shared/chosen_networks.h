// Which networks an analysis looks at that looks at each for itself: those of the stages named, or all of the run.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kd/analysis.h"
#include "kd/diagnostics.h"
#include "kd/schema.h"

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

}  // namespace kd::analyses
