// How this process was started with others: what torchrun, srun or mpirun say in the environment.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "kd/api.h"

namespace kd {

/// The processes that a launcher started together, as one of them sees it. Alone where there was none.
struct KD_API Launch {
  std::string launcher = {};  ///< "torchrun", "Slurm" or "Open MPI"; empty for a process alone
  std::int64_t rank = 0, size = 1;
  std::int64_t local_rank = 0, local_size = 1;  ///< among those on this host
  std::string host = {};                        ///< where they meet
  std::uint16_t port = 0;
  bool agent_serves = false;  ///< the launcher serves the meeting point; else rank 0 does
  std::string name = {};      ///< of this start: another one of the same job has another

  /// Of this host for the others; empty where they are on several and must find out: the one that reaches `host`.
  std::string address() const { return local_size == size ? "127.0.0.1" : ""; }
};

/// Value of a variable; empty where it is not set.
using Variables = std::function<std::string(const std::string& name)>;

/// Reads what a launcher has set. torchrun counts before mpirun and mpirun before srun, as each starts the one before.
/// `first_host` gives the first host of a list in Slurm's notation. Throws RecipeError where variables are missing or
/// contradict each other.
KD_API Launch read_launch(const Variables& variables, const std::function<std::string(const std::string&)>& first_host);

/// The same of this process.
KD_API Launch read_launch();

}  // namespace kd
