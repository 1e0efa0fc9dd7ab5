// Weights that a stage takes from elsewhere: of its teachers, and what its networks begin with.
#pragma once

#include <filesystem>
#include <string>

#include "engine/run_context.h"
#include "engine/trained_network.h"
#include "kd/model.h"
#include "recipe/plan.h"

namespace kd {

/// A network that another stage trained, or will have trained.
struct KD_API FoundNetwork {
  ComponentSpec model;
  std::filesystem::path weights, adapters;  ///< empty before its stage is trained; adapters also where it has none
};

/// The network of a stage of this run or of another. Throws an Error at the source's place where there is none.
KD_API FoundNetwork find_network(const NetworkSource& source, const RunContext& context);

/// The weights of a file that others wrote, under the names of the network.
KD_API TensorMap published_weights(const std::filesystem::path& file, Model& model);

/// Gives a network and its adapters the weights of `init`, as far as they fit. Returns what was taken and what was not,
/// in a line; nothing where the stage that gives them is not trained yet, and shapes alone were compared. Throws
/// RecipeError where nothing fits, and with `whole` where anything of the network is left as it was.
KD_API std::string begin_with(TrainedNetwork& network, const InitPlan& init, bool whole, const DataInfo& info,
                              const RunContext& context);

}  // namespace kd
