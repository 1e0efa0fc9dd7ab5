// How many adapters were given layers, parameters or buffers: for finding a loss that makes one and hands none out.
#pragma once

#include <cstdint>

namespace kd {

/// By this thread so far.
std::int64_t filled_adapters();

}  // namespace kd
