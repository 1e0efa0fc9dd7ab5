// Trains with every network, augmentation and loss for a few steps, on every device, in fp32 and bf16.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/torch.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "data/training_data.h"
#include "engine/experiment.h"
#include "engine/placement.h"
#include "engine/stage_parts.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"
#include "plugin/registry.h"

namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = "{ type = 'resnet', depth = 8 }";
constexpr const char* kCrossEntropy = "{ type = 'cross_entropy' }";

/// One line of a recipe for every component; a plugin without one fails the test.
const std::vector<std::string> kModels = {
    "{ type = 'mlp', hidden = [16], dropout = 0.1 }",
    "{ type = 'lenet5' }",
    kModel,
    "{ type = 'wrn', depth = 10, widen = 2, dropout = 0.1 }",
    "{ type = 'vgg', depth = 8 }",
    "{ type = 'mobilenet_v2' }",
    "{ type = 'shufflenet_v1' }",
    "{ type = 'shufflenet_v2' }",
    "{ type = 'resnet50', depth = 18 }",
};
const std::vector<std::string> kAugmentations = {
    "{ type = 'random_crop' }",
    "{ type = 'horizontal_flip' }",
    "{ type = 'normalize' }",
    "{ type = 'mixup', alpha = 0.3 }",
    "{ type = 'cutmix', within = 'set' }",
    "{ type = 'cutout' }",
    "{ type = 'augmix' }",
    "{ type = 'random_rotation' }",
    "{ type = 'random_erasing', probability = 1 }",
    "{ type = 'color_jitter', brightness = 0.4, hue = 0.1 }",
    "{ type = 'gaussian_noise' }",
    "{ type = 'rand_augment' }",
    "{ type = 'trivial_augment' }",
    "{ type = 'same_class' }",
};
const std::vector<std::string> kLosses = {
    kCrossEntropy,
    "{ type = 'kd' }",
    "{ type = 'mse_logits' }",
    "{ type = 'js' }",
    "{ type = 'reverse_kl' }",
    "{ type = 'rescaled_logits' }",
    "{ type = 'logit_standardization' }",
    "{ type = 'dkd' }",
    "{ type = 'dist' }",
    "{ type = 'nkd' }",
    "{ type = 'confidence_penalty', weight = 0.1 }, { type = 'cross_entropy' }",
    "{ type = 'jsd', weight = 12 }, { type = 'cross_entropy' }",
    "{ type = 'tf_kd_virtual' }",
    "{ type = 'cs_kd' }, { type = 'cross_entropy' }",
    "{ type = 'ensemble' }",
};

/// What stands before `normalize` where a loss asks for extra views.
std::string views_for(const std::string& losses) {
  if (losses.find("'jsd'") != std::string::npos) return "{ type = 'augmix' }, ";
  if (losses.find("'cs_kd'") != std::string::npos) return "{ type = 'same_class' }, ";
  return "";
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

  /// Three steps of a student after one of its teacher; the student's parameters must have moved.
  void train(const std::string& model, const std::string& augment, const std::string& losses) {
    SCOPED_TRACE(fmt::format("model = {}, augment = [{}], losses = [{}]", model, augment, losses));
    std::ofstream(folder_ / "recipe.toml")
        << fmt::format(R"(device = "{}"
[data]
type = "glyphs"
like = "cifar10"
train = 24
test = 8
[train]
epochs = 1
batch_size = 8
threads = 1
precision = "{}"
optimizer = {{ type = "sgd", lr = 0.01 }}
[[stage]]
name = "teacher"
model = {}
augment = [{{ type = "normalize" }}]
[[stage]]
name = "student"
scheme = {{ type = "vanilla_kd", losses = [{}] }}
teachers = [{{ stage = "teacher" }}]
model = {}
augment = [{}]
)",
                       GetParam().device, GetParam().precision, kModel, losses, model, augment);
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
  class Silence final : public kd::Progress {
    void say(const std::string&) override {}
    void warn(const std::string&) override {}
    void step(const kd::StepProgress&) override {}
    void epoch(const kd::EpochSummary&) override {}
  };

  const fs::path folder_;
  Silence silence_;
};

TEST_P(ComponentsTest, EveryModelTrains) {
  for (const std::string& model : kModels) train(model, "{ type = 'normalize' }", kCrossEntropy);
}

TEST_P(ComponentsTest, EveryAugmentationTrains) {
  for (const std::string& augmentation : kAugmentations) train(kModel, augmentation, kCrossEntropy);
}

TEST_P(ComponentsTest, EveryLossTrains) {
  for (const std::string& losses : kLosses) train(kModel, views_for(losses) + "{ type = 'normalize' }", losses);
}

/// Names of the first component of each line.
std::set<std::string> types(const std::vector<std::string>& lines) {
  std::set<std::string> names;
  for (const std::string& line : lines) {
    const std::size_t begin = line.find('\'') + 1;
    names.insert(line.substr(begin, line.find('\'', begin) - begin));
  }
  return names;
}

TEST(Components, EachHasALineAbove) {
  kd::load_plugins();
  const auto registered = [](const std::string& kind) {
    const std::vector<std::string> names = kd::registry().names(kind);
    return std::set<std::string>(names.begin(), names.end());
  };
  EXPECT_EQ(types(kModels), registered("model"));
  EXPECT_EQ(types(kAugmentations), registered("augmentation"));
  EXPECT_EQ(types(kLosses), registered("loss"));
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
