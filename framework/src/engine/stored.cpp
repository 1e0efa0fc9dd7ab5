// stored.h
#include "engine/stored.h"

#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <algorithm>

#include "engine/device.h"
#include "engine/evaluation.h"
#include "engine/stage_store.h"
#include "engine/state_dict.h"
#include "kd/augmentation.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"
#include "metrics/classification.h"
#include "plugin/registry.h"
#include "record/weights.h"

namespace kd {
namespace {

StageResult require_result(const std::filesystem::path& stage_folder) {
  auto result = read_result(stage_folder);
  if (!result)
    throw FileError(stage_folder.string() + " holds no finished stage (no intact result.json and ckpt/last)");
  return *std::move(result);
}

}  // namespace

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

at::Tensor StoredNetwork::logits(const ImageSet& set) {
  allow_tf32(tf32_);
  return evaluate_logits(*model_, placement_, set, augmentations_, batch_size_);
}

AnalysedNetwork answer_splits(const StageResult& stage, const NetworkResult& network, const TrainSettings& train,
                              const TrainingData& data, at::Device device) {
  StoredNetwork stored(stage, network, "best", data.info, train, device);
  AnalysedNetwork answered{.stage = stage.stage,
                           .network = network.name,
                           .class_names = data.info.class_names,
                           .test_logits = stored.logits(data.test).cpu(),
                           .test_labels = data.test.labels.cpu(),
                           .validation_logits = {},
                           .validation_labels = {}};
  if (data.has_validation()) {
    answered.validation_logits = stored.logits(data.validation).cpu();
    answered.validation_labels = data.validation.labels.cpu();
  }
  return answered;
}

AnalysedNetwork load_network(const std::filesystem::path& run, const std::string& stage, const std::string& network,
                             const std::filesystem::path& data_root, at::Device device) {
  const std::filesystem::path folder = run / "stages" / stage;
  const StageResult result = require_result(folder);
  const auto settings = read_stage_settings(folder / "settings.toml", registered_components());
  const auto found = std::find_if(result.networks.begin(), result.networks.end(), [&](const NetworkResult& one) {
    return network.empty() ? result.networks.size() == 1 : one.name == network;
  });
  if (found == result.networks.end()) {
    std::vector<std::string> names;
    for (const NetworkResult& one : result.networks) names.push_back(one.name);
    throw FileError(fmt::format("{}: no network '{}'\n    hint: {}", folder.string(), network,
                                name_hint(network, names, "networks")));
  }
  TrainingData data = load_training_data(settings.data, data_root, 0, device);
  data.validation = {};  // it belongs to the seed of that run
  return answer_splits(result, *found, settings.train, data, device);
}

std::vector<std::filesystem::path> finished_stages(const std::filesystem::path& run) {
  if (std::filesystem::exists(run / "result.json")) return {run};
  std::vector<std::filesystem::path> folders;
  if (std::filesystem::is_directory(run / "stages")) {
    for (const auto& item : std::filesystem::directory_iterator(run / "stages")) folders.push_back(item.path());
  }
  std::sort(folders.begin(), folders.end());
  if (folders.empty()) throw FileError(run.string() + " is no run folder and no stage of one");
  return folders;
}

std::vector<Evaluation> evaluate_stage(const std::filesystem::path& stage_folder, const std::string& checkpoint,
                                       const std::string& data, const std::filesystem::path& data_root,
                                       at::Device device, const BinSettings& bins) {
  const StageResult result = require_result(stage_folder);
  const auto settings = read_stage_settings(stage_folder / "settings.toml", registered_components());
  const ComponentSpec spec =
      data.empty() ? settings.data : parse_component("dataset", fields_of<DataSelection>(), data);
  flush_denormals();
  const TrainingData set = load_training_data(spec, data_root, 0, device);
  std::vector<Evaluation> evaluations;
  for (const NetworkResult& network : result.networks) {
    StoredNetwork stored(result, network, checkpoint, set.info, settings.train, device);
    const at::Tensor logits = stored.logits(set.test);
    evaluations.push_back({result.stage, network.name, measure_classification(logits, set.test.labels, bins)});
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
      throw Error(files.back().string() + " exists already; nothing was written");
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
  const ComponentSpec data = parse_component("dataset", fields_of<DataSelection>(), request.data);
  ImportedWeights imported{
      .tensors = weights.tensors,
      .network = {.name = "model", .model = parse_component("model", {}, request.model), .parameters = 0, .test = {}},
      .notes = weights.notes};
  const auto set = request.evaluate
                       ? std::make_optional(load_training_data(data, request.data_root, 0, placement.device))
                       : std::nullopt;
  const DataInfo info = set ? set->info : make<DataSet>(data, {.root = request.data_root})->info();
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
  const AugmentationChain augmentations(parse_components("augmentation", request.augment), info);
  imported.network.test = measure_classification(
      evaluate_logits(*network, placement, set->test, augmentations, TrainSettings{}.evaluation_batch_size),
      set->test.labels);
  return imported;
}

}  // namespace kd
