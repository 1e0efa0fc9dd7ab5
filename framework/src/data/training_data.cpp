// training_data.h: selection on the host, tensors on the device.
#include "data/training_data.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <numeric>

#include "files/digest.h"
#include "kd/plugin.h"
#include "kd/random.h"

namespace kd {
namespace {

using Positions = std::vector<std::int64_t>;

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
  if (set.labels.size(0) == 0) refuse("no images");
  for (const std::int64_t label : {set.labels.min().item<std::int64_t>(), set.labels.max().item<std::int64_t>()}) {
    if (label < 0 || label >= info.classes())
      refuse(fmt::format("the label {}, and its classes are 0 to {}", label, info.classes() - 1));
  }
}

namespace {

void check_info(const DataInfo& info, const std::string& what) {
  const auto refuse = [&](const std::string& why) { throw FileError(what + " has " + why); };
  if (info.channels < 1 || info.height < 1 || info.width < 1)
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

struct LoadedSet {
  DataInfo info;
  ImageSet train, test;
};

/// The data set itself, read once per process: stages differ in their selection only.
const LoadedSet& load_set(const ComponentSpec& data, const std::filesystem::path& root) {
  static std::map<std::string, LoadedSet> loaded;
  const std::string name = data.type + data.parameters.to_toml() + root.string();
  const auto found = loaded.find(name);
  if (found != loaded.end()) return found->second;
  const std::string what = fmt::format("data set '{}'", data.type);
  return call_component(what, [&]() -> const LoadedSet& {
    const auto set = make<DataSet>(data, {.root = root});
    LoadedSet all{.info = set->info(), .train = {}, .test = {}};
    check_info(all.info, what);
    all.train = set->load(Split::kTrain);
    check_split(all.train, all.info, what + ", training split,");
    all.test = set->load(Split::kTest);
    check_split(all.test, all.info, what + ", test split,");
    return loaded.emplace(name, std::move(all)).first->second;
  });
}

Positions to_vector(const at::Tensor& labels) {
  const at::Tensor plain = labels.contiguous();
  const auto* begin = plain.const_data_ptr<std::int64_t>();
  return {begin, begin + plain.numel()};
}

/// The images at `positions`, on the host; `labels` are those of all images.
ImageSet select_images(const ImageSet& all, const Positions& positions, const Positions& labels) {
  Positions chosen;
  for (const std::int64_t position : positions) chosen.push_back(labels[static_cast<std::size_t>(position)]);
  const bool everything = positions.size() == static_cast<std::size_t>(all.images.size(0));
  const at::Tensor images = everything ? all.images : all.images.index_select(0, at::tensor(positions, at::kLong));
  return {images, at::tensor(chosen, at::kLong)};
}

void digest_images(Digest& digest, const ImageSet& set) {
  const at::Tensor images = set.images.contiguous();
  const at::Tensor labels = set.labels.contiguous();
  digest.add(images.const_data_ptr(), images.nbytes()).add(labels.const_data_ptr(), labels.nbytes());
}

}  // namespace

TrainingData load_training_data(const ComponentSpec& data, const std::filesystem::path& root, std::uint64_t seed,
                                at::Device device) {
  const LoadedSet& set = load_set(data, root);
  const auto selection = read_parameters<DataSelection>(data.extras);
  const SelectedSamples selected =
      select_samples(to_vector(set.train.labels), set.info.classes(), selection, seed, data.location);
  TrainingData result;
  result.info = set.info;
  result.info.name = data.type;
  result.train = select_images(set.train, selected.train, selected.labels);
  if (!selected.validation.empty()) result.validation = select_images(set.train, selected.validation, selected.labels);

  const Positions numbers = class_numbers(set.info.classes(), selection, data.location);
  Positions test;
  Positions test_labels = to_vector(set.test.labels);
  for (std::size_t i = 0; i < test_labels.size(); ++i) {
    test_labels[i] = numbers[static_cast<std::size_t>(test_labels[i])];
    if (test_labels[i] >= 0) test.push_back(static_cast<std::int64_t>(i));
  }
  result.test = select_images(set.test, test, test_labels);
  if (!selection.classes.empty()) {
    result.info.class_names.clear();
    for (const std::int64_t c : selection.classes)
      result.info.class_names.push_back(set.info.class_names[static_cast<std::size_t>(c)]);
  }
  // While everything is still on the host: reading it back from a GPU would wait for it.
  Digest digest;
  digest_images(digest, result.train);
  if (result.has_validation()) digest_images(digest, result.validation);
  digest_images(digest, result.test);
  result.fingerprint = digest.hex();
  result.train_labels = to_vector(result.train.labels);
  for (ImageSet* split : {&result.train, &result.validation, &result.test}) {
    if (split->labels.defined()) *split = {split->images.to(device), split->labels.to(device)};
  }
  return result;
}

const TrainingData& TrainingDataStore::get(const ComponentSpec& data) {
  const std::string name = data.type + data.parameters.to_toml() + data.extras.to_toml();
  const auto found = loaded_.find(name);
  if (found != loaded_.end()) return found->second;
  return loaded_.emplace(name, load_training_data(data, root_, seed_, device_)).first->second;
}

}  // namespace kd
