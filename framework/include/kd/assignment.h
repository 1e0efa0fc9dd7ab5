// The pairing of rows with columns that gains the most: which units of one network are which of another's.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "kd/api.h"

namespace kd {

/// For each row its column, each column at most once, so that the sum of `gains` (finite, rows×columns, rows ≤ columns,
/// on any device) over the pairs is the largest there is. Gains count to a millionth of their range. Throws Error where
/// there are more rows than columns or gains that are not finite.
KD_API std::vector<std::int64_t> best_assignment(const at::Tensor& gains);

}  // namespace kd
