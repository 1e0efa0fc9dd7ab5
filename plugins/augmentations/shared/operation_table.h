// What strength an operation of image_operations.h has at a level, and the drawing of operations for each sample.
#pragma once

#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "image_operations.h"
#include "kd/random_tensors.h"
#include "kd/schema.h"

namespace image_operations {

enum class Rounding { kNone, kTowardsZero, kNearest };

/// The magnitude is base ± rounded(slope · level); with either sign at random, or +.
struct Strength {
  std::string name;
  Operation operation;
  double base, slope;
  Rounding rounding = Rounding::kNone;
  bool either_sign = false;
};

/// The rows of `known` that `names` list, in that order.
inline std::vector<Strength> chosen_rows(const std::vector<Strength>& known, const std::vector<std::string>& names) {
  std::vector<std::string> known_names;
  for (const Strength& row : known) known_names.push_back(row.name);
  if (names.empty()) throw kd::RecipeError("operations must name at least one");
  std::vector<Strength> rows;
  for (const std::string& name : names) {
    const auto place = std::find(known_names.begin(), known_names.end(), name);
    if (place == known_names.end()) {
      throw kd::RecipeError("there is no operation '" + name + "': " + kd::name_hint(name, known_names));
    }
    rows.push_back(known[static_cast<std::size_t>(place - known_names.begin())]);
  }
  return rows;
}

/// Declares the list of operations: the first `published` of `known`, and the others by name.
template <class Params>
void declare_operations(kd::Schema<Params>& s, const std::vector<Strength>& known, std::size_t published) {
  std::vector<std::string> names;
  std::string others;
  for (std::size_t i = 0; i < known.size(); ++i) {
    if (i < published) {
      names.push_back(known[i].name);
    } else {
      others += (others.empty() ? "" : ", ") + known[i].name;
    }
  }
  s.field("operations", &Params::operations,
          "those drawn from, by name; as published, and known beside them: " + others)
      .def(names);
}

/// Operations from which those of each sample are drawn.
class OperationTable {
 public:
  explicit OperationTable(const std::vector<Strength>& rows) {
    std::vector<double> numbers;
    for (const Strength& row : rows) {
      for (const double slope : {row.slope, row.either_sign ? -row.slope : row.slope}) {
        numbers.insert(numbers.end(),
                       {static_cast<double>(row.operation), row.base, slope, static_cast<double>(row.rounding)});
      }
      possible_.add(row.operation);
      truncates_ = truncates_ || row.rounding == Rounding::kTowardsZero;
      rounds_ = rounds_ || row.rounding == Rounding::kNearest;
    }
    rows_ = at::tensor(numbers).view({-1, kColumns});
  }

  /// An operation for each level (double, N×steps).
  Choice draw(kd::RandomKey key, const at::Tensor& index, const at::Tensor& level) const {
    const at::Tensor rows = rows_on(index.device());
    const at::Tensor number = kd::random_below(key.with("operation"), index, level.size(1), rows.size(0));
    const at::Tensor drawn = rows.index_select(0, number.flatten()).view({-1, level.size(1), kColumns});
    const auto is_rounded = [&](Rounding rounding) { return drawn.select(2, 3).eq(static_cast<double>(rounding)); };
    at::Tensor amount = drawn.select(2, 2) * level;
    if (truncates_) amount = at::where(is_rounded(Rounding::kTowardsZero), amount.trunc(), amount);
    if (rounds_) amount = at::where(is_rounded(Rounding::kNearest), amount.round(), amount);
    return {drawn.select(2, 0).to(at::kLong), drawn.select(2, 1) + amount, possible_};
  }

 private:
  static constexpr std::int64_t kColumns = 4;

  /// Copied to a device when it is first seen, since a copy in every step would wait for it.
  at::Tensor rows_on(const at::Device& device) const {
    const std::lock_guard lock(mutex_);
    if (rows_.device() != device) rows_ = rows_.to(device);
    return rows_;
  }

  mutable std::mutex mutex_;
  mutable at::Tensor rows_;  ///< double, kColumns wide: operation, base, slope, rounding; each twice, for either sign
  OperationSet possible_{};
  bool truncates_ = false, rounds_ = false;
};

}  // namespace image_operations
