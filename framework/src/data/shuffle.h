// A random order of positions, a function of a key alone.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "kd/random.h"

namespace kd {

/// Fisher and Yates.
inline void shuffle(std::vector<std::int64_t>& positions, RandomKey key) {
  for (std::size_t i = positions.size(); i > 1; --i)
    std::swap(positions[i - 1], positions[random_below(key, i, static_cast<std::uint32_t>(i))]);
}

}  // namespace kd
