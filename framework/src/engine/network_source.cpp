// network_source.h
#include "engine/network_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/placement.h"
#include "engine/stage_store.h"
#include "engine/state_dict.h"
#include "kd/diagnostics.h"
#include "record/checkpoint.h"
#include "record/weights.h"

namespace kd {

FoundNetwork find_network(const NetworkSource& source, const RunContext& context) {
  const auto from_result = [&](const StageResult& result) -> FoundNetwork {
    for (const NetworkResult& network : result.networks) {
      if (!source.network.empty() && network.name != source.network) continue;
      const auto weights = network_file(result, network.name, source.checkpoint);
      const auto adapters = adapters_file(weights);
      return {network.model, weights, std::filesystem::exists(adapters) ? adapters : std::filesystem::path()};
    }
    throw RecipeError(source.location, fmt::format("stage '{}' has no network '{}'", source.stage, source.network));
  };
  if (!source.run.empty()) {
    const auto result = read_result(std::filesystem::path(source.run) / "stages" / source.stage);
    if (!result) {
      throw FileError(source.location, fmt::format("{} holds no finished stage '{}'", source.run, source.stage));
    }
    if (source.network.empty() && result->networks.size() > 1) {
      std::vector<std::string> names;
      for (const NetworkResult& network : result->networks) names.push_back(network.name);
      throw RecipeError(
          source.location,
          fmt::format("stage '{}' of {} has several networks; say which with 'network'", source.stage, source.run),
          fmt::format("its networks: {}", fmt::join(names, ", ")));
    }
    return from_result(*result);
  }
  if (const auto found = context.finished.find(source.stage); found != context.finished.end())
    return from_result(found->second);
  for (const StagePlan& stage : context.plan.stages) {
    if (stage.name != source.stage) continue;
    for (const NetworkPlan& network : stage.networks) {
      if (source.network.empty() || network.name == source.network) return {network.model, {}, {}};
    }
  }
  throw Error(fmt::format("there is no stage '{}'", source.stage));
}

TensorMap published_weights(const std::filesystem::path& file, Model& model) {
  const Weights weights = read_weights(file);
  require_finite(weights.tensors, file.string());
  return without_common_prefix(weights.tensors, state_names(model), nullptr);
}

namespace {

std::vector<std::string> names_of(const TensorMap& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

/// The first of a list, and how many more there are.
std::string few(const std::vector<std::string>& items) {
  constexpr std::size_t kMost = 4;
  const std::vector<std::string> first(items.begin(), items.begin() + std::min(items.size(), kMost));
  return fmt::format("{}{}", fmt::join(first, ", "),
                     items.size() > kMost ? fmt::format(" and {} more", items.size() - kMost) : "");
}

/// What is on offer, and whether it is the trained weights: before their stage is trained, stand-ins of their shapes.
struct Offer {
  TensorMap tensors;
  bool trained = true;
};

Offer find_offer(TrainedNetwork& network, const InitPlan& init, const DataInfo& info, const RunContext& context) {
  if (!init.file.empty()) return {published_weights(init.file, network.model()), true};
  const FoundNetwork found = find_network(init, context);
  if (found.weights.empty()) return {state_dict(*place_model(found.model, info, {}, {context.device})), false};
  Offer offer{read_safetensors(found.weights), true};
  if (found.adapters.empty()) return offer;
  for (const auto& [name, tensor] : read_safetensors(found.adapters)) offer.tensors["adapter." + name] = tensor;
  return offer;
}

}  // namespace

std::string begin_with(TrainedNetwork& network, const InitPlan& init, bool whole, const DataInfo& info,
                       const RunContext& context) {
  const std::string whose = init.file.empty() ? "stage '" + init.stage + "'" : init.file;
  const Offer offer = find_offer(network, init, info, context);
  const FittingReport report = load_fitting(network.loadable(), offer.tensors, init.parts);
  // What adapters a stage will have is known when it has run.
  const bool unknown = !offer.trained && std::any_of(init.parts.begin(), init.parts.end(),
                                                     [](const std::string& part) { return is_below(part, "adapter"); });
  if (report.taken.empty() && !unknown) {
    throw RecipeError(init.location, fmt::format("network '{}': nothing of {} fits it", network.name(), whose),
                      report.left.empty() ? name_hint("", first_parts(names_of(offer.tensors)), "it has the parts")
                                          : "left: " + few(report.left));
  }
  if (whole) {
    std::vector<std::string> lacking;
    for (const std::string& name : names_of(network.loadable())) {
      if (!is_below(name, "adapter") && std::ranges::find(report.taken, name) == report.taken.end())
        lacking.push_back(name);
    }
    if (!lacking.empty()) {
      throw RecipeError(
          init.location,
          fmt::format("network '{}' is taken as it is, and {} lacks {}", network.name(), whose, few(lacking)),
          "train it for an epoch at least, or give a file that has all of it");
    }
  }
  if (!offer.trained) return "";
  return fmt::format("begins with {} tensors of {}{}{}", report.taken.size(), whose,
                     report.left.empty() ? "" : "; left there: " + few(report.left),
                     report.untouched.empty() ? "" : "; new here: " + few(report.untouched));
}

}  // namespace kd
