// training_data.h: selection on the host; images on the device, or behind a loader where they do not fit or change.
#include "data/training_data.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <numeric>
#include <thread>

#include "data/batches.h"
#include "engine/device.h"
#include "files/digest.h"
#include "kd/plugin.h"
#include "kd/random.h"

namespace kd {
namespace {

using Positions = std::vector<std::int64_t>;

Positions to_vector(const at::Tensor& labels) {
  const at::Tensor plain = labels.contiguous();
  const auto* begin = plain.const_data_ptr<std::int64_t>();
  return {begin, begin + plain.numel()};
}

/// A random order of positions (Fisher and Yates), a function of the key alone.
void shuffle(Positions& positions, RandomKey key) {
  for (std::size_t i = positions.size(); i > 1; --i) {
    std::swap(positions[i - 1], positions[random_below(key, i, static_cast<std::uint32_t>(i))]);
  }
}

/// Number of each class in the task; −1 for a class that is not part of it.
Positions class_numbers(std::int64_t classes, const DataSelection& selection, const Location& place) {
  const auto check = [&](const Positions& list) {
    for (const std::int64_t c : list) {
      if (c >= classes)
        throw RecipeError(place, fmt::format("there is no class {}: the data set has {}, counted from 0", c, classes));
    }
  };
  check(selection.classes);
  Positions sorted = selection.classes;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
    throw RecipeError(place, fmt::format("'classes' names class {} twice", *twice));
  check(selection.exclude_classes);
  Positions numbers(static_cast<std::size_t>(classes), -1);
  if (selection.classes.empty()) std::iota(numbers.begin(), numbers.end(), 0);
  for (std::size_t i = 0; i < selection.classes.size(); ++i) {
    numbers[static_cast<std::size_t>(selection.classes[i])] = static_cast<std::int64_t>(i);
  }
  return numbers;
}

/// Keeps the first `most(class)` of each class, in the given order.
template <class Most>
void keep_per_class(Positions& positions, const Positions& labels, Most most) {
  std::map<std::int64_t, std::int64_t> kept;
  std::erase_if(positions, [&](std::int64_t position) {
    const std::int64_t label = labels[static_cast<std::size_t>(position)];
    return ++kept[label] > most(label);
  });
}

/// Validation keeps its labels: an epoch chosen by wrong ones would be the wrong epoch.
void add_label_noise(Positions& labels, const Positions& train, std::int64_t classes, double probability,
                     RandomKey key) {
  if (probability == 0 || classes < 2) return;
  for (const std::int64_t position : train) {
    const auto i = static_cast<std::size_t>(position);
    if (random_uniform(key, 2 * i + 1) >= probability) continue;
    const auto shift = 1 + random_below(key, 2 * i + 2, static_cast<std::uint32_t>(classes - 1));
    labels[i] = (labels[i] + shift) % classes;
  }
}

/// Hides the labels of an exact share of the training images.
void hide_labels(Positions& labels, Positions train, double share, RandomKey key) {
  shuffle(train, key);
  train.resize(static_cast<std::size_t>(std::llround(share * static_cast<double>(train.size()))));
  for (const std::int64_t position : train) labels[static_cast<std::size_t>(position)] = -1;
}

}  // namespace

SelectedSamples select_samples(const Positions& labels, std::int64_t classes, const DataSelection& selection,
                               std::uint64_t seed, const Location& place) {
  const RandomKey key = RandomKey{seed}.with("data");
  const Positions numbers = class_numbers(classes, selection, place);
  SelectedSamples result;
  for (const std::int64_t label : labels) result.labels.push_back(numbers[static_cast<std::size_t>(label)]);

  Positions chosen;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (result.labels[i] >= 0) chosen.push_back(static_cast<std::int64_t>(i));
  }
  shuffle(chosen, key.with("split"));
  const auto held_out = static_cast<std::size_t>(selection.validation);
  if (held_out >= chosen.size()) {
    throw RecipeError(place,
                      fmt::format("validation = {} leaves nothing of {} images to train on", held_out, chosen.size()));
  }
  result.validation.assign(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(held_out));
  result.train.assign(chosen.begin() + static_cast<std::ptrdiff_t>(held_out), chosen.end());

  const auto excluded = [&](std::int64_t position) {
    const std::int64_t label = labels[static_cast<std::size_t>(position)];
    return std::find(selection.exclude_classes.begin(), selection.exclude_classes.end(), label) !=
           selection.exclude_classes.end();
  };
  std::erase_if(result.train, excluded);
  std::erase_if(result.validation, excluded);
  if (selection.imbalance > 1) {
    const auto task_classes = static_cast<std::int64_t>(
        selection.classes.empty() ? classes : static_cast<std::int64_t>(selection.classes.size()));
    std::map<std::int64_t, std::int64_t> counts;
    for (const std::int64_t position : result.train) ++counts[result.labels[static_cast<std::size_t>(position)]];
    keep_per_class(result.train, result.labels, [&](std::int64_t label) {
      const double share =
          std::pow(selection.imbalance,
                   -static_cast<double>(label) / static_cast<double>(std::max<std::int64_t>(1, task_classes - 1)));
      return std::max<std::int64_t>(1, std::llround(share * static_cast<double>(counts[label])));
    });
  }
  if (selection.per_class > 0)
    keep_per_class(result.train, result.labels, [&](std::int64_t) { return selection.per_class; });
  result.train.resize(
      static_cast<std::size_t>(std::llround(selection.fraction * static_cast<double>(result.train.size()))));
  if (result.train.empty()) throw RecipeError(place, "this selection leaves no image to train on");
  std::sort(result.train.begin(), result.train.end());
  std::sort(result.validation.begin(), result.validation.end());
  add_label_noise(result.labels, result.train,
                  selection.classes.empty() ? classes : static_cast<std::int64_t>(selection.classes.size()),
                  selection.label_noise, key.with("noise"));
  hide_labels(result.labels, result.train, selection.unlabelled, key.with("unlabelled"));
  return result;
}

std::filesystem::path data_root(const std::string& given) {
  if (!given.empty()) return given;
  const char* variable = std::getenv("KD_DATA");
  if (variable != nullptr && *variable != '\0') return variable;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : ".") / ".cache" / "kdrun" / "data";
}

namespace {

void check_labels(const Positions& labels, const DataInfo& info, const std::string& what) {
  if (labels.empty()) throw FileError(what + " gives no images");
  for (const std::int64_t label : labels) {
    if (label < 0 || label >= info.classes())
      throw FileError(
          fmt::format("{} gives the label {}, and its classes are 0 to {}", what, label, info.classes() - 1));
  }
}

}  // namespace

void check_split(const ImageSet& set, const DataInfo& info, const std::string& what) {
  const auto refuse = [&](const std::string& why) { throw FileError(what + " gives " + why); };
  if (!set.images.defined() || !set.labels.defined()) refuse("no images or no labels");
  if (set.images.scalar_type() != at::kByte)
    refuse(fmt::format("images of type {}, and bytes (uint8) are wanted", c10::toString(set.images.scalar_type())));
  if (set.images.dim() != 4 || set.images.size(1) != info.channels || set.images.size(2) != info.height ||
      set.images.size(3) != info.width) {
    refuse(fmt::format("images of shape {}, and its info says N×{}×{}×{}", c10::str(set.images.sizes()), info.channels,
                       info.height, info.width));
  }
  if (set.labels.scalar_type() != at::kLong || set.labels.dim() != 1) {
    refuse(fmt::format("labels of type {} and shape {}, and int64 of one dimension are wanted",
                       c10::toString(set.labels.scalar_type()), c10::str(set.labels.sizes())));
  }
  if (set.labels.size(0) != set.images.size(0))
    refuse(fmt::format("{} images and {} labels", set.images.size(0), set.labels.size(0)));
  check_labels(to_vector(set.labels), info, what);
}

namespace {

void check_info(const DataInfo& info, const std::string& what) {
  const auto refuse = [&](const std::string& why) { throw FileError(what + " has " + why); };
  if (info.channels < 1 || (!info.sizes_differ() && (info.height < 1 || info.width < 1)))
    refuse(fmt::format("images of {}×{}×{} numbers", info.channels, info.height, info.width));
  if (info.classes() < 1) refuse("no classes");
  for (const auto* statistic : {&info.mean, &info.deviation}) {
    if (statistic->empty()) continue;
    if (static_cast<std::int64_t>(statistic->size()) != info.channels)
      refuse(fmt::format("{} means or deviations for {} channels", statistic->size(), info.channels));
    if (!std::all_of(statistic->begin(), statistic->end(), [](double value) { return std::isfinite(value); }))
      refuse("a mean or deviation that is not finite");
  }
}

/// One image after another of a set that is in memory.
class MemoryReader final : public ImageReader {
 public:
  MemoryReader(const ImageSet& set, std::string fingerprint)
      : set_(set), labels_(to_vector(set.labels)), fingerprint_(std::move(fingerprint)) {}

  const Positions& labels() const override { return labels_; }
  ImageSize size(std::int64_t) const override {
    return {set_.images.size(2), set_.images.size(3), set_.images.size(1)};
  }
  at::Tensor read(std::int64_t sample) const override { return set_.images[sample]; }
  std::string fingerprint() const override { return fingerprint_; }

 private:
  ImageSet set_;
  Positions labels_;
  std::string fingerprint_;
};

/// A split as its data set gives it.
struct LoadedSplit {
  ImageSet set;  // undefined where its images are read
  std::shared_ptr<const ImageReader> reader;

  bool defined() const { return reader != nullptr; }
};

struct LoadedSet {
  DataInfo info;
  LoadedSplit train, validation, test;
};

std::string digest_of(const ImageSet& set) {
  const at::Tensor images = set.images.contiguous();
  const at::Tensor labels = set.labels.contiguous();
  return Digest().add(images.const_data_ptr(), images.nbytes()).add(labels.const_data_ptr(), labels.nbytes()).hex();
}

LoadedSplit load_split(const DataSet& set, Split split, const DataInfo& info, const std::string& what) {
  if (!set.has(split)) return {};
  LoadedSplit loaded;
  loaded.reader = set.open(split);
  if (loaded.reader != nullptr) {
    check_labels(loaded.reader->labels(), info, what);
    return loaded;
  }
  loaded.set = set.load(split);
  check_split(loaded.set, info, what);
  loaded.set.images = loaded.set.images.contiguous();
  loaded.reader = std::make_shared<MemoryReader>(loaded.set, digest_of(loaded.set));
  return loaded;
}

std::unique_ptr<DataSet> make_set(const DataRequest& request) {
  return make<DataSet>(request.data, {.root = request.root, .say = request.say});
}

/// The data set itself, read once per process: stages differ in their selection only.
const LoadedSet& load_set(const DataRequest& request) {
  static std::map<std::string, LoadedSet> loaded;
  const std::string name = request.data.type + request.data.parameters.to_toml() + request.root.string();
  const auto found = loaded.find(name);
  if (found != loaded.end()) return found->second;
  const std::string what = fmt::format("data set '{}'", request.data.type);
  return call_component(what, [&]() -> const LoadedSet& {
    const auto set = make_set(request);
    LoadedSet all{.info = set->info(), .train = {}, .validation = {}, .test = {}};
    check_info(all.info, what);
    all.train = load_split(*set, Split::kTrain, all.info, what + ", training split,");
    all.validation = load_split(*set, Split::kValidation, all.info, what + ", validation split,");
    all.test = load_split(*set, Split::kTest, all.info, what + ", test split,");
    if (!all.train.defined() || !all.test.defined()) throw FileError(what + " has no training or no test split");
    return loaded.emplace(name, std::move(all)).first->second;
  });
}

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

}  // namespace

DataInfo describe_data(const DataRequest& request) {
  const std::string what = fmt::format("data set '{}'", request.data.type);
  return call_component(what, [&] {
    const DataInfo info = make_set(request)->info();
    check_info(info, what);
    return sized_info(request, info, make_sizing(request.augment, info).get());
  });
}

TrainingData load_training_data(const DataRequest& request) {
  const LoadedSet& set = load_set(request);
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
  result.fingerprint = digest.hex();
  result.train_labels = train.labels;
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
  if (make_sizing(request.augment, load_set(request).info) != nullptr)
    name += request.augment.front().type + request.augment.front().parameters.to_toml();
  const auto found = loaded_.find(name);
  if (found != loaded_.end()) return found->second;
  return loaded_.emplace(name, load_training_data(request)).first->second;
}

}  // namespace kd
