// NCCL, where this build has it.
#pragma once

#include <chrono>
#include <cstdint>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace kd {

bool nccl_is_there();

/// Joins processes that each have a GPU of their own, the current one. Throws where there is no NCCL.
c10::intrusive_ptr<c10d::Backend> make_nccl(const c10::intrusive_ptr<c10d::Store>& store, std::int64_t rank,
                                            std::int64_t size, std::chrono::seconds timeout);

}  // namespace kd
