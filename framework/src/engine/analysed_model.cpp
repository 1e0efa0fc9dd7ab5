// analysed_model.h
#include "engine/analysed_model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>

#include <algorithm>
#include <functional>

#include "engine/device.h"
#include "engine/stage_store.h"
#include "engine/stop.h"
#include "files/digest.h"
#include "kd/augmentation.h"
#include "kd/diagnostics.h"
#include "plugin/registry.h"

namespace kd {
namespace {

constexpr const char* kCheckpoint = "best";

const char* name_of(Split split) {
  return split == Split::kTrain ? "train" : split == Split::kValidation ? "validation" : "test";
}

/// While it lives, the batch norms of a network count each batch into their statistics, from nothing, as a mean.
class BatchNormEstimate {
 public:
  explicit BatchNormEstimate(torch::nn::Module& network) {
    for (const auto& module : network.modules()) {
      add(module->as<torch::nn::BatchNorm1dImpl>());
      add(module->as<torch::nn::BatchNorm2dImpl>());
    }
  }
  ~BatchNormEstimate() {
    for (const auto& restore : restores_) restore();
  }
  BatchNormEstimate(const BatchNormEstimate&) = delete;
  BatchNormEstimate& operator=(const BatchNormEstimate&) = delete;

 private:
  template <class BatchNorm>
  void add(BatchNorm* norm) {
    if (norm == nullptr || !norm->options.track_running_stats()) return;
    norm->reset_running_stats();
    restores_.push_back([norm, momentum = norm->options.momentum()] {
      norm->options.momentum(momentum);
      norm->eval();
    });
    norm->options.momentum(c10::nullopt);
    norm->train();
  }

  std::vector<std::function<void()>> restores_;
};

/// What answers follow from beside the stage that they are kept in.
std::string digest_of(const at::Tensor& labels, const std::filesystem::path& weights) {
  const at::Tensor bytes = labels.contiguous();
  Digest digest;
  digest.add(std::string_view(static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()));
  return digest.add(file_digest(weights)).hex();
}

}  // namespace

AnalysedModel::AnalysedModel(const StageResult& stage, const NetworkResult& network, const TrainSettings& train,
                             const TrainingData& data, at::Device device)
    : name_{stage.stage, network.name}, stage_(stage), network_(network), train_(train), data_(data), device_(device) {}

AnalysedModel::AnalysedModel(const StageResult& stage, const NetworkResult& network, const TrainSettings& train,
                             std::unique_ptr<TrainingData> data, at::Device device)
    : name_{stage.stage, network.name},
      stage_(stage),
      network_(network),
      train_(train),
      own_data_(std::move(data)),
      data_(*own_data_),
      device_(device) {}

AnalysedModel::~AnalysedModel() = default;

const SplitData& AnalysedModel::set(Split split) const {
  if (split == Split::kValidation && !data_.has_validation())
    throw Error(fmt::format("the data of {} has no validation split", name_.text()));
  return split == Split::kTrain ? data_.train : split == Split::kValidation ? data_.validation : data_.test;
}

StoredNetwork& AnalysedModel::stored() {
  if (!stored_) {
    stored_.emplace(stage_, network_, kCheckpoint, data_.info, train_, device_);
    for (auto& parameter : stored_->model().module()->parameters()) parameter.set_requires_grad(false);
    stored_->model().module()->eval();
  }
  return *stored_;
}

const at::Tensor& AnalysedModel::labels(Split split) {
  at::Tensor& known = labels_[split];
  if (!known.defined()) known = set(split).labels().cpu();
  return known;
}

std::filesystem::path AnalysedModel::answers_file(Split split) const {
  return stage_.folder / "answers" / fmt::format("{}.{}.safetensors", name_.network, name_of(split));
}

at::Tensor AnalysedModel::read_answers(Split split) const {
  const std::filesystem::path file = answers_file(split);
  if (!std::filesystem::is_regular_file(file)) return {};
  try {
    const TensorMap kept = read_safetensors(file);
    const auto weights = network_file(stage_, network_.name, kCheckpoint);
    const std::string wanted = digest_of(set(split).labels().cpu(), weights);
    return kept.contains(wanted) ? kept.at(wanted) : at::Tensor();
  } catch (const FileError&) {
    return {};  // a damaged file is written anew
  }
}

const at::Tensor& AnalysedModel::logits(Split split) {
  at::Tensor& known = logits_[split];
  if (known.defined()) return known;
  known = read_answers(split);
  if (known.defined()) return known;
  known = compute_logits(split, set(split).samples()).cpu();
  try {
    std::filesystem::create_directories(answers_file(split).parent_path());
    write_safetensors(answers_file(split),
                      {{digest_of(labels(split), network_file(stage_, network_.name, kCheckpoint)), known}});
  } catch (const std::exception&) {
    // A run folder that cannot be written to is no reason not to look at its networks.
  }
  return known;
}

at::Tensor AnalysedModel::pixels(Split split, std::int64_t begin, std::int64_t count) {
  const SplitData& samples = set(split);
  const std::int64_t first = std::min(begin, samples.samples());
  return to_float(samples.images(first, std::min(count, samples.samples() - first)));
}

at::Tensor AnalysedModel::seen(const at::Tensor& pixels) { return stored().seen(pixels); }

std::vector<std::string> AnalysedModel::tap_names() { return stored().model().tap_names(); }

at::Tensor AnalysedModel::features(Split split, const std::string& tap, std::int64_t most) {
  const std::vector<std::string> known = tap_names();
  if (std::find(known.begin(), known.end(), tap) == known.end())
    throw RecipeError({}, fmt::format("{} has no feature '{}'", name_.text(), tap), name_hint(tap, known, "it offers"));
  const std::int64_t samples = std::min(most, set(split).samples());
  at::Tensor all;
  for (std::int64_t begin = 0; begin < samples; begin += train_.evaluation_batch_size) {
    const std::int64_t count = std::min(train_.evaluation_batch_size, samples - begin);
    const at::Tensor rows = forward(images(split, begin, count), {tap}, Gradient::kNone).taps.at(tap);
    if (!all.defined()) {
      std::vector<std::int64_t> shape = rows.sizes().vec();
      shape[0] = samples;
      all = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
    }
    all.narrow(0, begin, count).copy_(rows);
  }
  return all;
}

at::Tensor AnalysedModel::compute_logits(Split split, std::int64_t most) {
  throw_if_stopped("in the analyses");
  return stored().logits(set(split), most);
}

Outputs AnalysedModel::forward(const at::Tensor& images, const TapRequest& taps, Gradient gradient) {
  throw_if_stopped("in the analyses");
  const c10::AutoGradMode mode(gradient == Gradient::kToImages);
  Outputs outputs{{}, Taps(taps), this};
  outputs.logits = stored().forward(images, taps.empty() ? nullptr : &outputs.taps);
  return outputs;
}

at::Tensor AnalysedModel::head(const at::Tensor& feature, const std::string& tap) {
  return stored().head(feature, tap);
}

std::vector<NamedParameter> AnalysedModel::weights() {
  std::vector<NamedParameter> all;
  for (const auto& item : stored().model().module()->named_parameters()) all.push_back({item.key(), item.value()});
  return all;
}

std::vector<NamedParameter> AnalysedModel::statistics() {
  std::vector<NamedParameter> all;
  for (const auto& item : stored().model().module()->named_buffers()) {
    if (item.value().is_floating_point()) all.push_back({item.key(), item.value()});
  }
  return all;
}

void AnalysedModel::estimate_statistics(Split split, std::int64_t most) {
  const SplitData& samples = set(split);
  const std::int64_t count = std::min(most, samples.samples());
  BatchNormEstimate estimate(*stored().model().module());
  for (std::int64_t begin = 0; begin < count; begin += train_.evaluation_batch_size)
    forward(images(split, begin, std::min(train_.evaluation_batch_size, count - begin)), {}, Gradient::kNone);
}

std::unique_ptr<AnalysedModel> load_analysed(const std::filesystem::path& run, const std::string& stage,
                                             const std::string& network, const std::filesystem::path& data_root,
                                             at::Device device) {
  const std::filesystem::path folder = run / "stages" / stage;
  const StageResult result = require_result(folder);
  const auto settings = read_stage_settings(folder / "settings.toml", registered_components());
  std::vector<NetworkName> names;
  for (const NetworkResult& one : result.networks) names.push_back({stage, one.name});
  const std::size_t place = [&] {
    try {
      return find_network(names, stage, network);
    } catch (const RecipeError& error) {
      std::vector<Problem> problems = error.problems();
      for (Problem& problem : problems) problem.message = fmt::format("{}: {}", folder.string(), problem.message);
      throw FileError(std::move(problems));
    }
  }();
  DataRequest request = data_request(settings.data, settings.train);
  request.root = data_root;
  request.device = device;
  auto data = std::make_unique<TrainingData>(load_training_data(request));
  data->validation = {};
  return std::make_unique<AnalysedModel>(result, result.networks[place], settings.train, std::move(data), device);
}

}  // namespace kd
