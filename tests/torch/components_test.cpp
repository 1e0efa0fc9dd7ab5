// Trains with every network, augmentation and loss that is registered, by the defaults that it declares, for three
// steps, on every device, in fp32 and bf16.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/torch.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "data/batches.h"
#include "data/training_data.h"
#include "engine/experiment.h"
#include "engine/placement.h"
#include "engine/stage_parts.h"
#include "kd/augmentation.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"
#include "plugin/registry.h"

namespace {

namespace fs = std::filesystem;

constexpr const char* kSmallNetwork = "{ type = 'resnet', depth = 8 }";
constexpr const char* kCrossEntropy = "{ type = 'cross_entropy' }";

/// A component as its own declaration has it.
std::string by_default(const std::string& type) { return "{ type = '" + type + "' }"; }

/// The augmentations that make the extra views which a loss asks for, to stand before `normalize`.
std::string views_for(const std::string& loss) {
  const kd::DataInfo info{3, 32, 32, std::vector<std::string>(10, "class"), {0.5, 0.5, 0.5}, {0.2, 0.2, 0.2}};
  const kd::Loss::Context context{.classes = 10, .samples = 12, .student = {}, .teachers = {{}}};
  std::string augment;
  try {
    for (const kd::ViewRequest& request : kd::make<kd::Loss>(by_default(loss), context)->needs().views) {
      for (const std::string& type : kd::registry().names("augmentation")) {
        const auto names = kd::make<kd::Augmentation>(by_default(type), {.data = info})->view_names();
        if (std::find(names.begin(), names.end(), request.name) == names.end()) continue;
        augment += by_default(type) + ", ";
        break;
      }
    }
  } catch (const kd::RecipeError&) {
    // One that reads features cannot be made without their shapes, and asks for no views.
  }
  return augment;
}

struct Case {
  std::string device, precision;
};

class ComponentsTest : public ::testing::TestWithParam<Case> {
 protected:
  ComponentsTest() : folder_(fs::temp_directory_path() / fmt::format("kdrun_components_test_{}", ::getpid())) {
    kd::load_plugins();
    fs::create_directories(folder_);
  }
  ~ComponentsTest() override { fs::remove_all(folder_); }

  /// Three steps of a student after one of its teacher; the student's parameters must have moved. `sizing` is what both
  /// need, for images of one size: an augmentation and a comma.
  void train(const std::string& model, const std::string& augment, const std::string& losses,
             const std::string& sizing = "") {
    SCOPED_TRACE(fmt::format("model = {}, augment = [{}], losses = [{}]", model, augment, losses));
    std::ofstream(folder_ / "recipe.toml")
        << fmt::format(R"(device = "{}"
[data]
type = "glyphs"
like = "cifar10"
train = 12
test = 4
[train]
epochs = 1
batch_size = 4
threads = 1
precision = "{}"
optimizer = {{ type = "sgd", lr = 0.01 }}
[[stage]]
name = "teacher"
model = {}
augment = [{}{{ type = "normalize" }}]
[[stage]]
name = "student"
scheme = {{ type = "vanilla_kd", losses = [{}] }}
teachers = [{{ stage = "teacher" }}]
model = {}
augment = [{}]
)",
                       GetParam().device, GetParam().precision, kSmallNetwork, sizing, losses, model, augment);
    const auto plan = kd::read_recipe((folder_ / "recipe.toml").string(), {}, kd::registry());
    kd::RunResult result;
    ASSERT_NO_THROW(result = kd::run_experiment(
                        plan, {.data_root = "", .runs_folder = folder_ / "runs", .arguments = {}}, silence_));
    EXPECT_TRUE(std::isfinite(result.stages[1].networks[0].test.nll));
    const kd::DataInfo info{3, 32, 32, std::vector<std::string>(10, "class"), {}, {}};
    const auto fresh = kd::place_model(plan.stages[1].networks[0].model, info,
                                       kd::stage_key(plan, plan.stages[1]).with("model"), kd::Placement{});
    const kd::TensorMap trained = kd::read_safetensors(result.stages[1].folder / "ckpt/last/model.safetensors");
    bool moved = false;
    for (const auto& item : fresh->module()->named_parameters())
      moved |= !at::equal(item.value(), trained.at(item.key()));
    EXPECT_TRUE(moved);
  }

 private:
  const fs::path folder_;
  kd::SilentProgress silence_;
};

TEST_P(ComponentsTest, EveryModelTrains) {
  for (const std::string& type : kd::registry().names("model"))
    train(by_default(type), by_default("normalize"), kCrossEntropy);
}

TEST_P(ComponentsTest, EveryAugmentationTrains) {
  const kd::DataInfo info{3, 32, 32, std::vector<std::string>(10, "class"), {0.5, 0.5, 0.5}, {0.2, 0.2, 0.2}};
  for (const std::string& type : kd::registry().names("augmentation")) {
    const auto parsed = kd::parse_components("augmentation", "[" + by_default(type) + "]");
    if (kd::make_sizing(parsed, info) == nullptr) {
      train(kSmallNetwork, by_default(type), kCrossEntropy);
    } else {  // smaller than its default, which photographs want
      const std::string small = "{ type = '" + type + "', size = 32 }";
      train(kSmallNetwork, small, kCrossEntropy, small + ", ");
    }
  }
}

/// A student that offers the features which a loss asks for: the small network, or else another by its defaults.
std::string student_for(const std::string& loss) {
  const kd::DataInfo info{3, 32, 32, std::vector<std::string>(10, "class"), {}, {}};
  const auto shapes = [&](const std::string& model) {
    return kd::tap_shapes(*kd::place_model(kd::parse_component("model", {}, model), info, {}, kd::Placement{}), {},
                          at::zeros({2, 3, 32, 32}));
  };
  std::vector<std::string> students{kSmallNetwork};
  for (const std::string& type : kd::registry().names("model")) students.push_back(by_default(type));
  for (const std::string& student : students) {
    try {
      kd::make<kd::Loss>(by_default(loss), {.classes = 10,
                                            .samples = 12,
                                            .labels = at::arange(12).remainder(10),
                                            .student = shapes(student),
                                            .teachers = {{.taps = shapes(kSmallNetwork)}}});
      return student;
    } catch (const kd::RecipeError&) {
    }
  }
  return kSmallNetwork;
}

TEST_P(ComponentsTest, EveryLossTrains) {
  for (const std::string& type : kd::registry().names("loss")) {
    train(student_for(type), views_for(type) + by_default("normalize"), by_default(type) + ", " + kCrossEntropy);
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const at::Device& device : kd::testing::devices()) {
    for (const char* precision : {"fp32", "bf16"}) all.push_back({device.is_cuda() ? "cuda" : "cpu", precision});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Devices, ComponentsTest, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.device + "_" + instance.param.precision; });

}  // namespace
