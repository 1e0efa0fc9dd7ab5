// sample_selection.h
#include "data/sample_selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "data/shuffle.h"
#include "kd/diagnostics.h"
#include "kd/random.h"

namespace kd {
namespace {

using Positions = std::vector<std::int64_t>;

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

std::vector<std::int64_t> class_numbers(std::int64_t classes, const DataSelection& selection, const Location& place) {
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

}  // namespace kd
