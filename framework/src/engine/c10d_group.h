// Groups of processes by LibTorch's c10d: Gloo on CPUs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "kd/api.h"
#include "kd/group.h"

namespace kd {

/// Joins `size` processes of one machine, each with its own `rank`, that name the same `meeting` file, which must be
/// new to all of them. Waits for all. Throws Error where they do not come.
KD_API std::unique_ptr<Group> join_gloo_group(const std::filesystem::path& meeting, std::int64_t rank,
                                              std::int64_t size);

}  // namespace kd
