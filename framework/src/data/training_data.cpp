// training_data.h: images on the device, or behind a loader where they do not fit or change.
#include "data/training_data.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <tuple>

#include "data/batches.h"
#include "data/loaded_set.h"
#include "data/sample_selection.h"
#include "engine/device.h"
#include "files/digest.h"
#include "kd/plugin.h"

namespace kd {

std::filesystem::path data_root(const std::string& given) {
  if (!given.empty()) return given;
  const char* variable = std::getenv("KD_DATA");
  if (variable != nullptr && *variable != '\0') return variable;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : ".") / ".cache" / "kdrun" / "data";
}

namespace {

using Positions = std::vector<std::int64_t>;

SetRequest set_of(const DataRequest& request) { return {request.data, request.root, request.say}; }

constexpr std::int64_t kUnlabelled = -1;

/// Samples of a split, and the label that each gets.
struct Chosen {
  Positions samples, labels;
};

Chosen chosen(const Positions& samples, const Positions& labels_of_all) {
  Chosen result{.samples = samples, .labels = {}};
  for (const std::int64_t sample : samples) result.labels.push_back(labels_of_all[static_cast<std::size_t>(sample)]);
  return result;
}

/// Those of a class of the task, under the numbers that classes have there.
Chosen all_of_task(const LoadedSplit& split, const Positions& class_numbers) {
  Chosen result;
  const Positions& labels = split.reader->labels();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::int64_t label = class_numbers[static_cast<std::size_t>(labels[i])];
    if (label < 0) continue;
    result.samples.push_back(static_cast<std::int64_t>(i));
    result.labels.push_back(label);
  }
  return result;
}

/// What images in memory may take.
std::int64_t most_image_bytes(at::Device device) { return free_memory(device) / (device.is_cpu() ? 4 : 2); }

/// Makes the splits of a stage.
class SplitMaker {
 public:
  SplitMaker(const DataRequest& request, const DataInfo& info, std::shared_ptr<const Sizing> sizing)
      : request_(request), info_(info), sizing_(std::move(sizing)) {}

  SplitData make(const LoadedSplit& split, const Chosen& chosen, bool in_training) {
    const at::Tensor host_labels = at::tensor(chosen.labels, at::kLong);
    const at::Tensor labels = host_labels.to(request_.device);
    if (split.set.images.defined() && sizing_ == nullptr) {
      const bool everything = chosen.samples.size() == split.reader->labels().size();
      const at::Tensor images =
          everything ? split.set.images : split.set.images.index_select(0, at::tensor(chosen.samples, at::kLong));
      return SplitData({images.to(request_.device), labels});
    }
    auto loader = std::make_shared<SampleLoader>(decoded(split), chosen.samples, sizing_, info_, pool());
    const SplitData read(labels, host_labels, loader);
    const bool is_fixed = sizing_ == nullptr || !in_training || !sizing_->is_random();
    const auto bytes = static_cast<std::int64_t>(chosen.samples.size()) * loader->bytes_of_image();
    if (!request_.keep_images || !is_fixed || bytes > most_image_bytes(request_.device)) return read;
    return SplitData({load_all(read), labels});
  }

 private:
  /// Every image of a split in one tensor on the device.
  at::Tensor load_all(const SplitData& split) {
    constexpr std::int64_t kRows = 256;
    const std::int64_t samples = split.samples();
    const at::Tensor all = at::empty({samples, info_.channels, info_.height, info_.width},
                                     at::TensorOptions().dtype(at::kByte).device(request_.device));
    ImageBatches batches(split, kRows, 0, samples);
    for (std::int64_t begin = 0; begin < samples; begin += kRows) {
      const at::Tensor images = batches.next();
      all.narrow(0, begin, images.size(0)).copy_(images);
    }
    return all;
  }

  std::shared_ptr<const DecodedImages> decoded(const LoadedSplit& split) const {
    if (split.set.images.defined()) return std::make_shared<DecodedImages>(split.reader, /*keep=*/false);
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < split.reader->labels().size(); ++i) {
      const ImageSize size = split.reader->size(static_cast<std::int64_t>(i));
      bytes += size.height * size.width * info_.channels;
    }
    // Only a sizing that is another in each epoch comes back to what was decoded.
    const bool comes_back = sizing_ != nullptr && sizing_->is_random();
    return std::make_shared<DecodedImages>(split.reader,
                                           request_.keep_images && comes_back && bytes <= most_image_bytes(at::kCPU));
  }

  std::shared_ptr<WorkerPool> pool() {
    if (pool_ == nullptr) {
      const std::size_t threads = request_.loader_threads > 0 ? static_cast<std::size_t>(request_.loader_threads)
                                                              : std::max(1u, std::thread::hardware_concurrency());
      pool_ = std::make_shared<WorkerPool>(threads);
    }
    return pool_;
  }

  const DataRequest& request_;
  const DataInfo& info_;
  std::shared_ptr<const Sizing> sizing_;
  std::shared_ptr<WorkerPool> pool_;
};

/// What is known of the images as networks get them. `sizing` is null where nothing sizes them.
DataInfo sized_info(const DataRequest& request, DataInfo info, const Sizing* sizing) {
  info.name = request.data.type;
  if (sizing != nullptr) {
    info.height = sizing->extent().height;
    info.width = sizing->extent().width;
  } else if (info.sizes_differ()) {
    throw RecipeError(request.data.location,
                      fmt::format("the images of data set '{}' have sizes of their own, and nothing gives them one",
                                  request.data.type),
                      "begin 'augment' with { type = \"resize\" } or { type = \"random_resized_crop\" }");
  }
  return info;
}

/// Only the classes that a selection names, in its order.
void select_classes(DataInfo& info, const DataSelection& selection) {
  if (selection.classes.empty()) return;
  std::vector<std::string> names;
  for (const std::int64_t c : selection.classes) names.push_back(info.class_names[static_cast<std::size_t>(c)]);
  info.class_names = std::move(names);
}

/// Puts the images of another source, without labels, behind those of the training set.
void add_others(const DataRequest& request, const ComponentSpec& source, TrainingData& data, Digest& digest) {
  const auto wanted = read_parameters<UnlabelledSource>(source.extras);
  const LoadedSet& set = load_set({source, request.root, request.say});
  const auto refuse = [&](const std::string& why, const std::string& hint) {
    throw RecipeError(source.location, fmt::format("unlabelled_from: data set '{}' {}", source.type, why), hint);
  };
  const auto sizing = make_sizing(request.augment, set.info);
  DataInfo info = set.info;
  if (sizing != nullptr) {
    info.height = sizing->extent().height;
    info.width = sizing->extent().width;
  }
  if (std::tuple(info.channels, info.height, info.width) !=
      std::tuple(data.info.channels, data.info.height, data.info.width)) {
    refuse(
        fmt::format("has images of {}×{}×{}, and those of '{}' are {}×{}×{}", info.channels, info.height, info.width,
                    request.data.type, data.info.channels, data.info.height, data.info.width),
        info.channels == data.info.channels ? "begin 'augment' with { type = \"resize\" } to give all one size" : "");
  }
  Chosen all{.samples = {}, .labels = {}};
  DataSelection of_classes;
  of_classes.exclude_classes = wanted.exclude_classes;
  const Positions there =
      select_samples(set.train.reader->labels(), set.info.classes(), of_classes, request.seed, source.location).train;
  const std::size_t count =
      wanted.images > 0 ? std::min(static_cast<std::size_t>(wanted.images), there.size()) : there.size();
  for (std::size_t i = 0; i < count; ++i) {
    // Spread over the set, which may be sorted by class.
    all.samples.push_back(there[i * there.size() / count]);
    all.labels.push_back(kUnlabelled);
  }
  digest.add("unlabelled").add(set.train.reader->fingerprint());
  digest.add(all.samples.data(), all.samples.size() * sizeof(std::int64_t));
  const SplitData others = SplitMaker(request, info, sizing).make(set.train, all, /*in_training=*/true);
  if (!others.in_memory() || !data.train.in_memory()) {
    refuse("is put together with the training set in memory, and one of them is read from files",
           "keep_images = \"auto\", and no random sizing: { type = \"resize\" }");
  }
  data.train = SplitData(
      {at::cat({data.train.all_images(), others.all_images()}), at::cat({data.train.labels(), others.labels()})});
  data.train_labels.insert(data.train_labels.end(), all.labels.begin(), all.labels.end());
  data.sources.others = static_cast<std::int64_t>(count);
  data.sources.share = wanted.share;
}

}  // namespace

DataInfo describe_data(const DataRequest& request) {
  const DataInfo info = info_of_set(set_of(request));
  return sized_info(request, info, make_sizing(request.augment, info).get());
}

TrainingData load_training_data(const DataRequest& request) {
  const LoadedSet& set = load_set(set_of(request));
  const auto selection = read_parameters<DataSelection>(request.data.extras);
  if (selection.validation > 0 && set.validation.defined()) {
    throw RecipeError(request.data.location,
                      fmt::format("data set '{}' has a validation split of its own", request.data.type),
                      "leave 'validation' out");
  }
  const auto sizing = make_sizing(request.augment, set.info);
  TrainingData result;
  result.info = sized_info(request, set.info, sizing.get());
  const SelectedSamples selected =
      select_samples(set.train.reader->labels(), set.info.classes(), selection, request.seed, request.data.location);
  const Positions numbers = class_numbers(set.info.classes(), selection, request.data.location);
  select_classes(result.info, selection);

  Digest digest;
  SplitMaker maker(request, result.info, sizing);
  const auto make = [&](const LoadedSplit& split, const Chosen& samples, bool in_training) {
    digest.add(split.reader->fingerprint());
    for (const Positions* numbers_of : {&samples.samples, &samples.labels})
      digest.add(numbers_of->data(), numbers_of->size() * sizeof(std::int64_t));
    return maker.make(split, samples, in_training);
  };
  const Chosen train = chosen(selected.train, selected.labels);
  result.train = make(set.train, train, /*in_training=*/true);
  if (!selected.validation.empty()) {
    result.validation = make(set.train, chosen(selected.validation, selected.labels), /*in_training=*/false);
  } else if (set.validation.defined()) {
    result.validation = make(set.validation, all_of_task(set.validation, numbers), /*in_training=*/false);
  }
  result.test = make(set.test, all_of_task(set.test, numbers), /*in_training=*/false);
  result.train_labels = train.labels;
  result.sources.own = static_cast<std::int64_t>(train.labels.size());
  if (selection.unlabelled_from) add_others(request, selection.unlabelled_from, result, digest);
  result.fingerprint = digest.hex();
  return result;
}

DataRequest data_request(const ComponentSpec& data, const TrainSettings& train) {
  DataRequest request{.data = data,
                      .augment = {},
                      .keep_images = train.keep_images == AutoOnOff::kAuto,
                      .loader_threads = train.loader_threads};
  if (!train.augment.empty()) request.augment = {train.augment.front()};
  return request;
}

const TrainingData& TrainingDataStore::get(const ComponentSpec& data, const TrainSettings& train) {
  DataRequest request = data_request(data, train);
  request.root = root_;
  request.seed = seed_;
  request.device = device_;
  request.say = say_;
  std::string name = data.type + data.parameters.to_toml() + data.extras.to_toml();
  if (make_sizing(request.augment, load_set(set_of(request)).info) != nullptr)
    name += request.augment.front().type + request.augment.front().parameters.to_toml();
  const auto found = loaded_.find(name);
  if (found != loaded_.end()) return found->second;
  return loaded_.emplace(name, load_training_data(request)).first->second;
}

}  // namespace kd
