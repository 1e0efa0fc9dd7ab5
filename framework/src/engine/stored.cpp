// stored.h
#include "engine/stored.h"

#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/device.h"
#include "engine/evaluation.h"
#include "engine/stage_store.h"
#include "engine/state_dict.h"
#include "files/atomic_file.h"
#include "kd/augmentation.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"
#include "metrics/classification.h"
#include "plugin/registry.h"
#include "record/weights.h"

namespace kd {

StageResult require_result(const std::filesystem::path& stage_folder) {
  auto result = read_result(stage_folder);
  if (!result)
    throw FileError(stage_folder.string() + " holds no finished stage (no intact result.json and ckpt/last)");
  return *std::move(result);
}

StoredNetwork::StoredNetwork(const StageResult& stage, const NetworkResult& network, const std::string& checkpoint,
                             const DataInfo& info, const TrainSettings& train, at::Device device)
    : model_(place_model(network.model, info, {}, {device, at::kFloat, false})),
      augmentations_(train.augment, info),
      batch_size_(train.evaluation_batch_size) {
  const auto file = network_file(stage, network.name, checkpoint);
  load_state_dict(*model_, read_safetensors(file), file.string());
  placement_ = {device, precision_named(stage.precision), use_channels_last(train, model_->convolutional())};
  tf32_ = stage.precision == "tf32";
  set_memory_order(*model_, placement_);
}

at::Tensor StoredNetwork::logits(const SplitData& set, std::int64_t most) {
  allow_tf32(tf32_);
  return evaluate_logits(*model_, placement_, set, augmentations_, batch_size_, most);
}

at::Tensor StoredNetwork::forward(const at::Tensor& images, Taps* taps) {
  allow_tf32(tf32_);
  const AutocastGuard autocast(placement_.device, placement_.precision);
  return model_->forward(in_memory_order(images, placement_), {.taps = taps, .key = {}}).to(at::kFloat);
}

at::Tensor StoredNetwork::head(const at::Tensor& feature, const std::string& tap) {
  const AutocastGuard autocast(placement_.device, placement_.precision);
  return model_->head(feature, tap).to(at::kFloat);
}

namespace {

std::vector<std::filesystem::path> folders_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> all;
  if (std::filesystem::is_directory(folder)) {
    for (const auto& item : std::filesystem::directory_iterator(folder)) all.push_back(item.path());
  }
  std::sort(all.begin(), all.end());
  return all;
}

/// The finished stages of a run in the order of its recipe.
std::vector<std::string> stages_in_order(const std::filesystem::path& run) {
  std::vector<std::string> names;
  if (!std::filesystem::is_regular_file(run / "run.json")) return names;
  const auto facts = nlohmann::json::parse(read_text(run / "run.json"), nullptr, /*allow_exceptions=*/false);
  if (!facts.is_object()) return names;
  for (const auto& stage : facts.value("stages", nlohmann::json::array())) names.push_back(stage.value("stage", ""));
  return names;
}

[[noreturn]] void refuse_path(const std::filesystem::path& path) {
  const bool below_stages = path.parent_path().filename() == "stages";
  const std::filesystem::path run = below_stages ? path.parent_path().parent_path() : path;
  if (below_stages && std::filesystem::is_directory(run)) {
    std::vector<std::string> names;
    for (const auto& folder : folders_in(run / "stages")) names.push_back(folder.filename().string());
    throw FileError({}, fmt::format("{} has no finished stage '{}'", run.string(), path.filename().string()),
                    name_hint(path.filename().string(), names, "its finished stages"));
  }
  if (!std::filesystem::exists(path)) throw FileError(path.string() + " does not exist");
  if (std::filesystem::is_regular_file(path / "run.json")) {
    throw FileError({}, path.string() + " has no finished stage: the run was stopped or failed before",
                    "the command that began it goes on where it stopped");
  }
  std::string runs;
  for (const auto& folder : folders_in(path)) {
    if (std::filesystem::is_regular_file(folder / "run.json")) runs = folder.string();
  }
  throw FileError({}, path.string() + " is no run folder and no stage of one",
                  runs.empty() ? "a run folder holds run.json and stages/" : "its last run is " + runs);
}

}  // namespace

std::vector<std::filesystem::path> finished_stages(const std::filesystem::path& run) {
  if (std::filesystem::exists(run / "result.json")) return {run};
  std::vector<std::filesystem::path> folders = folders_in(run / "stages");
  if (folders.empty()) refuse_path(run);
  for (const auto& folder : folders) {
    // A copy of a run holds links that lead nowhere.
    if (std::filesystem::exists(folder)) continue;
    throw FileError({}, folder.string() + " is a link to a stage that is not there",
                    "the stages of a run lie in .stages beside it; copy a run with cp -rL, or take kdrun export");
  }
  const std::vector<std::string> order = stages_in_order(run);
  std::stable_sort(folders.begin(), folders.end(), [&](const auto& a, const auto& b) {
    return std::find(order.begin(), order.end(), a.filename()) < std::find(order.begin(), order.end(), b.filename());
  });
  return folders;
}

namespace {

/// A component that an option of the command line gives as TOML.
ComponentSpec parse_option(const std::string& option, const std::string& kind, const std::vector<FieldInfo>& extras,
                           const std::string& text) {
  try {
    return parse_component(kind, extras, text);
  } catch (const RecipeError& error) {
    std::vector<Problem> problems = error.problems();
    const bool is_name = registered_components().fields(kind, text) != nullptr;
    for (Problem& problem : problems) {
      problem.location.source = std::make_shared<const std::string>(option);
      if (is_name) problem.hint = fmt::format("write {} '{{ type = \"{}\" }}'", option, text);
    }
    throw RecipeError(std::move(problems));
  }
}

}  // namespace

std::vector<Evaluation> evaluate_stage(const std::filesystem::path& stage_folder, const std::string& checkpoint,
                                       const std::string& data, const std::filesystem::path& data_root,
                                       at::Device device, const BinSettings& bins) {
  const StageResult result = require_result(stage_folder);
  const auto settings = read_stage_settings(stage_folder / "settings.toml", registered_components());
  const ComponentSpec spec =
      data.empty() ? settings.data : parse_option("--data", "dataset", fields_of<DataSelection>(), data);
  flush_denormals();
  DataRequest request = data_request(spec, settings.train);
  request.root = data_root;
  request.device = device;
  const TrainingData set = load_training_data(request);
  std::vector<Evaluation> evaluations;
  for (const NetworkResult& network : result.networks) {
    StoredNetwork stored(result, network, checkpoint, set.info, settings.train, device);
    const at::Tensor logits = stored.logits(set.test);
    evaluations.push_back({result.stage, network.name, measure_classification(logits, set.test.labels(), bins)});
  }
  return evaluations;
}

std::vector<std::filesystem::path> export_stage(const std::filesystem::path& stage_folder,
                                                const std::string& checkpoint, const std::string& format,
                                                const std::filesystem::path& folder) {
  const StageResult result = require_result(stage_folder);
  std::vector<std::filesystem::path> files;
  for (const NetworkResult& network : result.networks) {
    files.push_back(folder / fmt::format("{}-{}.{}", result.stage, network.name, format));
    if (std::filesystem::exists(files.back()))
      throw Error(files.back().string() + " exists already; nothing was written. Give another folder with --out");
  }
  std::filesystem::create_directories(folder);
  for (std::size_t i = 0; i < files.size(); ++i) {
    const TensorMap weights = read_safetensors(network_file(result, result.networks[i].name, checkpoint));
    if (format == "pth") {
      write_pth(files[i], weights);
    } else {
      write_safetensors(files[i], weights, {{"format", "pt"}});
    }
  }
  return files;
}

std::vector<TapShape> describe_taps(const std::string& model) {
  const DataInfo info{3, 32, 32, std::vector<std::string>(100, "class"), {}, {}};
  const auto network = place_model(parse_component("model", {}, model), info, {}, {});
  const TapShapes known = tap_shapes(*network, {}, at::zeros({1, info.channels, info.height, info.width}));
  std::vector<TapShape> shapes;
  for (const std::string& name : network->tap_names()) {
    TapShape shape{name, {"N"}};
    for (const std::int64_t size : known.at(name)) shape.shape.push_back(std::to_string(size));
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

namespace {

TensorMap renamed(const TensorMap& weights, const std::vector<std::pair<std::string, std::string>>& names) {
  TensorMap result;
  for (const auto& [name, tensor] : weights) {
    std::string known = name;
    for (const auto& [from, to] : names) {
      if (name.starts_with(from)) known = to + name.substr(from.size());
    }
    if (!result.emplace(known, tensor).second) throw FileError("two tensors are called '" + known + "' after renaming");
  }
  return result;
}

}  // namespace

ImportedWeights import_weights(const Weights& weights, const ImportRequest& request) {
  const Placement placement;
  const ComponentSpec data = parse_option("--data", "dataset", fields_of<DataSelection>(), request.data);
  ImportedWeights imported{.tensors = weights.tensors,
                           .network = {.name = "model",
                                       .model = parse_option("--model", "model", {}, request.model),
                                       .parameters = 0,
                                       .test = {}},
                           .notes = weights.notes};
  const auto augment = parse_components("augmentation", request.augment);
  const DataRequest wanted{.data = data, .augment = augment, .root = request.data_root, .device = placement.device};
  const auto set = request.evaluate ? std::make_optional(load_training_data(wanted)) : std::nullopt;
  const DataInfo info = set ? set->info : describe_data(wanted);
  const auto network = place_model(imported.network.model, info, {}, placement);
  if (!request.prefix.empty()) imported.tensors = with_prefix(imported.tensors, request.prefix);
  std::string note;
  imported.tensors = without_common_prefix(std::move(imported.tensors), state_names(*network), &note);
  if (!note.empty()) imported.notes.push_back(note);
  imported.tensors = renamed(imported.tensors, request.renamed);
  require_finite(imported.tensors, request.source);
  load_state_dict(*network, imported.tensors, request.source);
  imported.network.parameters = count_parameters(*network);
  if (!set) return imported;
  const AugmentationChain augmentations(augment, info);
  imported.network.test =
      measure_classification(evaluate_logits(*network, placement, set->test, augmentations,
                                             TrainSettings{}.evaluation_batch_size, set->test.samples()),
                             set->test.labels());
  return imported;
}

}  // namespace kd
