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
Positions class_numbers(std::int64_t classes, const DataSelection& selection, const std::string& place) {
  const auto check = [&](const Positions& list) {
    for (const std::int64_t c : list) {
      if (c >= classes)
        throw RecipeError(
            fmt::format("{}: error: there is no class {}: the data set has {}, counted from 0", place, c, classes));
    }
  };
  check(selection.classes);
  Positions sorted = selection.classes;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
    throw RecipeError(fmt::format("{}: error: 'classes' names class {} twice", place, *twice));
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
                               std::uint64_t seed, const std::string& place) {
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
    throw RecipeError(fmt::format("{}: error: validation = {} leaves nothing of {} images to train on", place, held_out,
                                  chosen.size()));
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
  if (result.train.empty()) throw RecipeError(place + ": error: this selection leaves no image to train on");
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
  if (const char* variable = std::getenv("KD_DATA")) return variable;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : ".") / ".cache" / "kdrun" / "data";
}

namespace {

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
  const auto set = make<DataSet>(data, {.root = root});
  return loaded.emplace(name, LoadedSet{set->info(), set->load(Split::kTrain), set->load(Split::kTest)}).first->second;
}

Positions to_vector(const at::Tensor& labels) {
  const at::Tensor plain = labels.contiguous();
  const auto* begin = plain.const_data_ptr<std::int64_t>();
  return {begin, begin + plain.numel()};
}

ImageSet select_images(const ImageSet& all, const Positions& positions, const Positions& labels, at::Device device) {
  Positions chosen;
  for (const std::int64_t position : positions) chosen.push_back(labels[static_cast<std::size_t>(position)]);
  const bool everything = positions.size() == static_cast<std::size_t>(all.images.size(0));
  const at::Tensor images = everything ? all.images : all.images.index_select(0, at::tensor(positions, at::kLong));
  return {images.to(device), at::tensor(chosen, at::kLong).to(device)};
}

void digest_images(Digest& digest, const ImageSet& set) {
  const at::Tensor images = set.images.to(at::kCPU).contiguous();
  const at::Tensor labels = set.labels.to(at::kCPU).contiguous();
  digest.add(images.const_data_ptr(), images.nbytes()).add(labels.const_data_ptr(), labels.nbytes());
}

}  // namespace

TrainingData load_training_data(const ComponentSpec& data, const std::filesystem::path& root, std::uint64_t seed,
                                at::Device device) {
  const LoadedSet& set = load_set(data, root);
  const auto selection = read_parameters<DataSelection>(data.extras);
  const SelectedSamples selected =
      select_samples(to_vector(set.train.labels), set.info.classes(), selection, seed, data.location.to_string());
  TrainingData result;
  result.info = set.info;
  result.train = select_images(set.train, selected.train, selected.labels, device);
  if (!selected.validation.empty())
    result.validation = select_images(set.train, selected.validation, selected.labels, device);

  const Positions numbers = class_numbers(set.info.classes(), selection, data.location.to_string());
  Positions test;
  Positions test_labels = to_vector(set.test.labels);
  for (std::size_t i = 0; i < test_labels.size(); ++i) {
    test_labels[i] = numbers[static_cast<std::size_t>(test_labels[i])];
    if (test_labels[i] >= 0) test.push_back(static_cast<std::int64_t>(i));
  }
  result.test = select_images(set.test, test, test_labels, device);
  if (!selection.classes.empty()) {
    result.info.class_names.clear();
    for (const std::int64_t c : selection.classes)
      result.info.class_names.push_back(set.info.class_names[static_cast<std::size_t>(c)]);
  }
  Digest digest;
  digest_images(digest, result.train);
  if (result.has_validation()) digest_images(digest, result.validation);
  digest_images(digest, result.test);
  result.fingerprint = digest.hex();
  return result;
}

}  // namespace kd
