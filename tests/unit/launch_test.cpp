// Tests of what launchers say of the processes that they start together.
#include "ranks/launch.h"

#include <gtest/gtest.h>

#include <map>

#include "kd/diagnostics.h"

namespace {

using Environment = std::map<std::string, std::string>;

kd::Launch read(const Environment& environment, const std::string& first_host = "node1") {
  return kd::read_launch(
      [&](const std::string& name) {
        const auto found = environment.find(name);
        return found == environment.end() ? std::string() : found->second;
      },
      [&](const std::string&) { return first_host; });
}

/// The message of the error that these variables make.
std::string refusal(const Environment& environment, const std::string& first_host = "node1") {
  try {
    read(environment, first_host);
  } catch (const kd::RecipeError& error) {
    return error.text();
  }
  return "taken";
}

const Environment kTorchrun = {{"RANK", "3"},
                               {"WORLD_SIZE", "4"},
                               {"LOCAL_RANK", "1"},
                               {"LOCAL_WORLD_SIZE", "2"},
                               {"MASTER_ADDR", "10.0.0.7"},
                               {"MASTER_PORT", "29400"},
                               {"TORCHELASTIC_RUN_ID", "job"},
                               {"TORCHELASTIC_RESTART_COUNT", "2"},
                               {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
const Environment kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "1"},
                              {"OMPI_COMM_WORLD_SIZE", "2"},
                              {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                              {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                              {"PMIX_NAMESPACE", "1234"}};
const Environment kSlurm = {{"SLURM_PROCID", "5"},         {"SLURM_STEP_NUM_TASKS", "8"},
                            {"SLURM_LOCALID", "1"},        {"SLURM_STEP_NODELIST", "node[1-2]"},
                            {"SLURM_STEP_NUM_NODES", "2"}, {"SLURM_STEP_TASKS_PER_NODE", "4(x2)"},
                            {"SLURM_JOB_ID", "77"},        {"SLURM_STEP_ID", "0"}};

Environment with(Environment environment, const std::string& name, const std::string& value) {
  environment[name] = value;
  return environment;
}

TEST(Launch, AProcessAloneIsAlone) {
  const kd::Launch launch = read({});
  EXPECT_EQ(launch.launcher, "");
  EXPECT_EQ(launch.size, 1);
  EXPECT_EQ(launch.rank, 0);
  EXPECT_EQ(launch.local_size, 1);
}

TEST(Launch, ReadsTorchrun) {
  const kd::Launch launch = read(kTorchrun);
  EXPECT_EQ(launch.launcher, "torchrun");
  EXPECT_EQ(launch.rank, 3);
  EXPECT_EQ(launch.size, 4);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.local_size, 2);
  EXPECT_EQ(launch.host, "10.0.0.7");
  EXPECT_EQ(launch.port, 29400);
  EXPECT_TRUE(launch.agent_serves);
  // A restart of the same job must not read what its processes wrote before.
  EXPECT_NE(launch.name, read(with(kTorchrun, "TORCHELASTIC_RESTART_COUNT", "3")).name);
}

TEST(Launch, ReadsOpenMpiOnOneHostAndWantsAnAddressForMore) {
  const kd::Launch launch = read(kOpenMpi);
  EXPECT_EQ(launch.launcher, "Open MPI");
  EXPECT_EQ(launch.rank, 1);
  EXPECT_EQ(launch.size, 2);
  EXPECT_EQ(launch.host, "127.0.0.1");
  EXPECT_GE(launch.port, 20000);
  EXPECT_FALSE(launch.agent_serves);
  EXPECT_EQ(launch.port, read(with(kOpenMpi, "OMPI_COMM_WORLD_RANK", "0")).port);
  EXPECT_NE(launch.port, read(with(kOpenMpi, "PMIX_NAMESPACE", "1235")).port);
  const Environment two_hosts = with(kOpenMpi, "OMPI_COMM_WORLD_LOCAL_SIZE", "1");
  EXPECT_NE(refusal(two_hosts).find("MASTER_ADDR"), std::string::npos);
  EXPECT_EQ(read(with(two_hosts, "MASTER_ADDR", "head")).host, "head");
  EXPECT_EQ(read(with(kOpenMpi, "MASTER_PORT", "4000")).port, 4000);
}

TEST(Launch, ReadsSlurmsStepsAndNotItsBatchScripts) {
  const kd::Launch launch = read(kSlurm);
  EXPECT_EQ(launch.launcher, "Slurm");
  EXPECT_EQ(launch.rank, 5);
  EXPECT_EQ(launch.size, 8);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.local_size, 4);
  EXPECT_EQ(launch.host, "node1");
  EXPECT_EQ(launch.address(), "");
  EXPECT_NE(launch.port, read(with(kSlurm, "SLURM_JOB_ID", "78")).port);
  EXPECT_EQ(read(with(kSlurm, "SLURM_STEP_NUM_NODES", "1")).host, "127.0.0.1");
  EXPECT_NE(refusal(kSlurm, "").find("scontrol show hostnames node[1-2]"), std::string::npos);
  // sbatch sets these for its script, which is one process whatever was asked for.
  EXPECT_EQ(read({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}, {"SLURM_JOB_ID", "77"}}).size, 1);
}

TEST(Launch, TheInnermostLauncherCounts) {
  Environment both = kTorchrun;
  both.insert(kSlurm.begin(), kSlurm.end());
  EXPECT_EQ(read(both).launcher, "torchrun");
  both = kOpenMpi;
  both.insert(kSlurm.begin(), kSlurm.end());
  EXPECT_EQ(read(both).launcher, "Open MPI");
  both = kTorchrun;
  both.insert(kOpenMpi.begin(), kOpenMpi.end());
  EXPECT_NE(refusal(both).find("both torchrun and mpirun"), std::string::npos);
}

TEST(Launch, RefusesMissingAndWrongVariablesByName) {
  for (const auto& [launcher, environment, names] :
       std::vector<std::tuple<std::string, Environment, std::vector<std::string>>>{
           {"torchrun", kTorchrun, {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}},
           {"mpirun", kOpenMpi, {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"}},
           {"srun", kSlurm, {"SLURM_LOCALID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID"}}}) {
    for (const std::string& name : names) {
      const std::string text = refusal(with(environment, name, ""));
      EXPECT_NE(text.find(launcher + " started, but " + name + " is not set"), std::string::npos)
          << name << ": " << text;
    }
  }
  EXPECT_NE(refusal(with(kTorchrun, "RANK", "4")).find("RANK = '4' is no whole number from 0 to 3"), std::string::npos);
  EXPECT_NE(refusal(with(kTorchrun, "RANK", "1x")).find("RANK = '1x'"), std::string::npos);
  EXPECT_NE(refusal(with(kTorchrun, "MASTER_PORT", "70000")).find("MASTER_PORT = '70000'"), std::string::npos);
}

}  // namespace
