// launch.h
#include "ranks/launch.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "files/shell.h"
#include "kd/diagnostics.h"
#include "kd/random.h"

namespace kd {
namespace {

constexpr std::uint16_t kFirstPort = 20000, kPorts = 20000;

/// The variables of one launcher.
class Reader {
 public:
  Reader(const Variables& variables, std::string launcher) : variables_(variables), launcher_(std::move(launcher)) {}

  std::string text(const std::string& name) const {
    std::string value = variables_(name);
    if (value.empty()) refuse(fmt::format("{} is not set", name));
    return value;
  }
  std::int64_t number(const std::string& name, std::int64_t least, std::int64_t most) const {
    const std::string value = text(name);
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number < least || number > most)
      refuse(fmt::format("{} = '{}' is no whole number from {} to {}", name, value, least, most));
    return number;
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw RecipeError({},
                      fmt::format("this process seems to be one of several that {} started, but {}", launcher_, what),
                      "start kdrun by torchrun, srun or mpirun, or unset what is left of their variables");
  }

 private:
  const Variables& variables_;
  std::string launcher_;
};

void read_ranks(Launch& launch, const Reader& reader, const std::string& rank, const std::string& size,
                const std::string& local_rank) {
  launch.size = reader.number(size, 1, 1 << 20);
  launch.rank = reader.number(rank, 0, launch.size - 1);
  launch.local_rank = reader.number(local_rank, 0, launch.size - 1);
}

/// A port that every process of a job finds for itself.
std::uint16_t port_of(std::string_view job) {
  return static_cast<std::uint16_t>(kFirstPort + mix_bits(hash_name(job)) % kPorts);
}

/// MASTER_ADDR and MASTER_PORT, which a user may give to any launcher.
void read_meeting(Launch& launch, const Variables& variables, const Reader& reader) {
  if (const std::string host = variables("MASTER_ADDR"); !host.empty()) launch.host = host;
  if (!variables("MASTER_PORT").empty())
    launch.port = static_cast<std::uint16_t>(reader.number("MASTER_PORT", 1, 65535));
}

Launch read_torchrun(const Variables& variables) {
  const Reader reader(variables, "torchrun");
  Launch launch{.launcher = "torchrun"};
  read_ranks(launch, reader, "RANK", "WORLD_SIZE", "LOCAL_RANK");
  launch.local_size =
      variables("LOCAL_WORLD_SIZE").empty() ? launch.size : reader.number("LOCAL_WORLD_SIZE", 1, launch.size);
  launch.host = reader.text("MASTER_ADDR");
  launch.port = static_cast<std::uint16_t>(reader.number("MASTER_PORT", 1, 65535));
  launch.agent_serves = variables("TORCHELASTIC_USE_AGENT_STORE") == "True";
  // The agent's store outlives a restart, and what the processes before it wrote there.
  launch.name = variables("TORCHELASTIC_RUN_ID") + "/" + variables("TORCHELASTIC_RESTART_COUNT");
  return launch;
}

Launch read_open_mpi(const Variables& variables) {
  const Reader reader(variables, "mpirun");
  Launch launch{.launcher = "Open MPI"};
  read_ranks(launch, reader, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK");
  launch.local_size = reader.number("OMPI_COMM_WORLD_LOCAL_SIZE", 1, launch.size);
  std::string job;
  for (const char* name : {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "OMPI_MCA_orte_ess_jobid"}) {
    if (job.empty()) job = variables(name);
  }
  launch.name = job;
  launch.port = port_of(job);
  launch.host = launch.address();
  read_meeting(launch, variables, reader);
  if (launch.host.empty()) {
    reader.refuse(
        "on several hosts it does not say where they meet: add -x MASTER_ADDR=… with the address of the host of "
        "rank 0");
  }
  return launch;
}

Launch read_slurm(const Variables& variables, const std::function<std::string(const std::string&)>& first_host) {
  const Reader reader(variables, "srun");
  Launch launch{.launcher = "Slurm"};
  read_ranks(launch, reader, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID");
  const std::string nodes = reader.text("SLURM_STEP_NODELIST");
  const std::string step = variables("SLURM_STEP_ID");
  launch.name = fmt::format("{}.{}", reader.text("SLURM_JOB_ID"), step);
  launch.port = port_of(launch.name);
  const bool one_host = variables("SLURM_STEP_NUM_NODES") == "1";
  // "2(x3),1": tasks of each host. That of this host is what its processes share its processors by.
  const std::string per_node = variables("SLURM_STEP_TASKS_PER_NODE");
  std::int64_t tasks = 0;
  if (std::from_chars(per_node.data(), per_node.data() + per_node.size(), tasks).ec == std::errc() && tasks > 0)
    launch.local_size = tasks;
  if (one_host) {
    launch.local_size = launch.size;
    launch.host = launch.address();
  }
  read_meeting(launch, variables, reader);
  if (launch.host.empty()) launch.host = first_host(nodes);
  if (launch.host.empty())
    reader.refuse(fmt::format("'scontrol show hostnames {}' does not say on which host they meet", nodes));
  return launch;
}

std::string first_slurm_host(const std::string& nodes) {
  const std::string hosts = run_in_shell(fmt::format("scontrol show hostnames {} 2>/dev/null", in_quotes(nodes))).text;
  return hosts.substr(0, hosts.find('\n'));
}

}  // namespace

Launch read_launch(const Variables& variables, const std::function<std::string(const std::string&)>& first_host) {
  const auto is_set = [&](const char* name) { return !variables(name).empty(); };
  const auto several = [&](const char* name) { return is_set(name) && variables(name) != "1"; };
  const bool torchrun = is_set("TORCHELASTIC_RUN_ID") || (is_set("RANK") && is_set("WORLD_SIZE"));
  if (torchrun && several("WORLD_SIZE") && several("OMPI_COMM_WORLD_SIZE")) {
    throw RecipeError({}, "both torchrun and mpirun say that they started this process with others: which ranks count?",
                      "start torchrun once on each host (mpirun --map-by ppr:1:node), or kdrun by mpirun alone, "
                      "without RANK and WORLD_SIZE");
  }
  if (torchrun) return read_torchrun(variables);
  if (is_set("OMPI_COMM_WORLD_SIZE")) return read_open_mpi(variables);
  // Slurm sets most of its variables for a batch script too, which runs on one host alone; those of a step srun sets.
  if (is_set("SLURM_STEP_NUM_TASKS") && is_set("SLURM_PROCID")) return read_slurm(variables, first_host);
  return {};
}

Launch read_launch() {
  return read_launch(
      [](const std::string& name) {
        const char* value = std::getenv(name.c_str());
        return value == nullptr ? std::string() : std::string(value);
      },
      first_slurm_host);
}

}  // namespace kd
