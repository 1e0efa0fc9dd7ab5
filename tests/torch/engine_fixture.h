// What the tests of the engine share: a small recipe, run on each device.
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/experiment.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"
#include "plugin/registry.h"
#include "record/safetensors.h"

namespace engine_tests {

namespace fs = std::filesystem;

inline constexpr const char* kRecipe = R"(
device = "DEVICE"
[data]
type = "glyphs"
train = 256
test = 200
[train]
epochs = 2
batch_size = 64
threads = 1
optimizer = { type = "sgd", lr = 0.05, momentum = 0.9 }
[[stage]]
name = "teacher"
model = { type = "mlp", hidden = [32] }
[[stage]]
name = "student"
scheme = { type = "vanilla_kd" }
teachers = [{ stage = "teacher" }]
model = { type = "mlp", hidden = [8] }
)";

class EngineTest : public ::testing::TestWithParam<std::string> {
 protected:
  /// The plugins, and what the test program registers itself.
  static void SetUpTestSuite() {
    static const bool loaded = (kd::load_plugins(), kd::add_own_components(), true);  // once for all suites
    static_cast<void>(loaded);
  }

  EngineTest() : folder_(fs::temp_directory_path() / ("kdrun_engine_tests_" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~EngineTest() override { fs::remove_all(folder_); }

  kd::ExperimentPlan plan(const std::vector<std::string>& overrides = {}, const std::string& text = kRecipe) {
    std::string recipe = text;
    recipe.replace(recipe.find("DEVICE"), 6, GetParam());
    std::ofstream(folder_ / "recipe.toml") << recipe;
    return kd::read_recipe((folder_ / "recipe.toml").string(), {.profile = "", .overrides = overrides}, kd::registry());
  }

  kd::RunResult run(const std::vector<std::string>& overrides = {}, const std::string& runs = "runs",
                    std::int64_t max_steps = 0, bool fresh = false) {
    kd::SilentProgress silence;
    return kd::run_experiment(
        plan(overrides),
        {.data_root = "",
         .runs_folder = folder_ / runs,
         .fresh = fresh,
         .deterministic = GetParam() == "cuda",  // equal bits are asked for, and a GPU gives them on demand only
         .max_steps = max_steps,
         .arguments = {}},
        silence);
  }

  static kd::TensorMap weights(const kd::StageResult& stage) {
    return kd::read_safetensors(stage.folder / "ckpt/last/model.safetensors");
  }

  static double largest_difference(const kd::TensorMap& a, const kd::TensorMap& b) {
    double largest = 0;
    for (const auto& [name, tensor] : a) largest = std::max(largest, (tensor - b.at(name)).abs().max().item<double>());
    return largest;
  }

  const fs::path folder_;
};

inline std::vector<std::string> device_names() {
  std::vector<std::string> names;
  for (const at::Device device : kd::testing::devices()) names.push_back(device.is_cuda() ? "cuda" : "cpu");
  return names;
}

}  // namespace engine_tests
