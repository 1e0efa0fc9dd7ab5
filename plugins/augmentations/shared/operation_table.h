// What strength an operation of image_operations.h has at a level, and the drawing of one operation per sample.
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

/// Operations of which each sample gets one at random.
class OperationTable {
 public:
  explicit OperationTable(const std::vector<Strength>& rows) {
    std::vector<double> numbers;
    for (const Strength& row : rows) {
      numbers.insert(numbers.end(), {static_cast<double>(row.operation), row.base, row.slope,
                                     static_cast<double>(row.rounding), row.either_sign ? 1.0 : 0.0});
    }
    rows_ = at::tensor(numbers).view({-1, kColumns});
  }

  /// `level` is double, N.
  Choice draw(kd::RandomKey key, const at::Tensor& index, const at::Tensor& level) const {
    const at::Tensor rows = rows_on(index.device());
    const at::Tensor number = kd::random_below(key.with("operation"), index, 1, rows.size(0)).squeeze(1);
    const at::Tensor negative = kd::random_below(key.with("sign"), index, 1, 2).squeeze(1);
    const at::Tensor drawn = rows.index_select(0, number);
    const auto is_rounded = [&](Rounding rounding) { return drawn.select(1, 3).eq(static_cast<double>(rounding)); };
    at::Tensor amount = drawn.select(1, 2) * level;
    amount = at::where(is_rounded(Rounding::kTowardsZero), amount.trunc(), amount);
    amount = at::where(is_rounded(Rounding::kNearest), amount.round(), amount);
    const at::Tensor sign = 1 - drawn.select(1, 4) * negative * 2;
    return {drawn.select(1, 0).to(at::kLong), drawn.select(1, 1) + sign * amount};
  }

 private:
  static constexpr std::int64_t kColumns = 5;

  /// Copied to a device when it is first seen, since a copy in every step would wait for it.
  at::Tensor rows_on(const at::Device& device) const {
    const std::lock_guard lock(mutex_);
    if (rows_.device() != device) rows_ = rows_.to(device);
    return rows_;
  }

  mutable std::mutex mutex_;
  mutable at::Tensor rows_;  ///< rows×kColumns, double: operation, base, slope, rounding, either sign
};

}  // namespace image_operations
