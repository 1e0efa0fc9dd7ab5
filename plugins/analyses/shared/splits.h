// The splits that an analysis looks at, by the names that recipes and tables have for them.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "kd/dataset.h"
#include "kd/diagnostics.h"
#include "kd/schema.h"

namespace kd::analyses {

inline constexpr std::array<std::pair<const char*, Split>, 3> kSplitNames{
    {{"train", Split::kTrain}, {"validation", Split::kValidation}, {"test", Split::kTest}}};

inline std::string split_name(Split split) {
  return std::find_if(kSplitNames.begin(), kSplitNames.end(), [&](const auto& one) { return one.second == split; })
      ->first;
}

/// Declares the parameter `splits` of an analysis. What `of_first` says is said of the first split in its help.
template <class Params>
void declare_splits(Schema<Params>& s, std::vector<std::string> splits, const std::string& of_first = "") {
  s.field("splits", &Params::splits,
          "what is measured on: train, validation (where a stage has one) and test" + of_first)
      .def(std::move(splits));
}

/// Throws RecipeError where a name is none of a split, is given twice, or where there is none.
inline std::vector<Split> splits_of(const std::vector<std::string>& names) {
  if (names.empty()) throw RecipeError("'splits' names no split");
  std::vector<Split> splits;
  for (const std::string& name : names) {
    const auto* const found =
        std::find_if(kSplitNames.begin(), kSplitNames.end(), [&](const auto& one) { return name == one.first; });
    if (found == kSplitNames.end())
      throw RecipeError({}, "there is no split '" + name + "'",
                        name_hint(name, {"train", "validation", "test"}, "splits"));
    if (std::find(splits.begin(), splits.end(), found->second) != splits.end())
      throw RecipeError("'splits' names '" + name + "' twice");
    splits.push_back(found->second);
  }
  return splits;
}

}  // namespace kd::analyses
