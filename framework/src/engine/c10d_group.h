// Groups of processes by LibTorch's c10d: Gloo for tensors on the CPU, NCCL for those on GPUs.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kd/api.h"
#include "kd/diagnostics.h"
#include "kd/group.h"
#include "ranks/launch.h"

namespace kd {

/// Joins `size` processes of one machine, each with its own `rank`, that name the same `meeting` file, which must be
/// new to all of them. Waits for all. Throws Error where they do not come.
KD_API std::unique_ptr<Group> join_gloo_group(const std::filesystem::path& meeting, std::int64_t rank,
                                              std::int64_t size);

/// Seconds that this process has spent in functions of the group so far: with messages, and waiting for the others.
KD_API double seconds_together(const Group& group);

/// Sums `numbers`, of floats on the CPU, over the processes: in one message with the next tensors of that kind that the
/// group sums, or at the latest in settle(). A message of their own would cost a short step a tenth of its time.
KD_API void sum_with_next(Group& group, const at::Tensor& numbers);
KD_API void settle(Group& group);

/// What must be the same in every process, by its name: the recipe, the build, …
using SharedFacts = std::vector<std::pair<std::string, std::string>>;

/// The processes of a launch, from where they meet to their last word.
class KD_API JoinedRanks {
 public:
  /// Meets the others. `gpu` is what tells the GPU of this process from all others, empty where it has none. Throws
  /// Error where they do not come within `patience`, and in every process the same RecipeError where their facts
  /// differ or two of them have one GPU. A process that does not answer for `timeout` counts as lost.
  JoinedRanks(const Launch& launch, at::Device device, const SharedFacts& facts, const std::string& gpu,
              std::chrono::seconds patience, std::chrono::seconds timeout);
  ~JoinedRanks();
  JoinedRanks(const JoinedRanks&) = delete;
  JoinedRanks& operator=(const JoinedRanks&) = delete;

  /// Where a process of it is lost, its functions throw in all others: the error of that one where it told, else an
  /// Error with ExitCode::kResumable.
  Group& group();
  /// Leaves the group because of an error of this process, and tells the others, who would wait for it in vain.
  void leave(const std::string& error, ExitCode code) noexcept;

 private:
  struct Meeting;
  std::unique_ptr<Meeting> meeting_;
};

}  // namespace kd
