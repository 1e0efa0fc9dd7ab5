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

const kd::DataInfo& data_info() {
  static const kd::DataInfo info{3, 32, 32, std::vector<std::string>(10, "class"), {0.5, 0.5, 0.5}, {0.2, 0.2, 0.2}};
  return info;
}

/// What a loss is made with where these networks meet.
kd::Loss::Context context_of(const std::string& student, const std::string& teacher) {
  const auto shapes = [](const std::string& model) {
    return kd::tap_shapes(*kd::place_model(kd::parse_component("model", {}, model), data_info(), {}, kd::Placement{}),
                          {}, at::zeros({2, 3, 32, 32}));
  };
  return {.classes = 10,
          .samples = 12,
          .labels = at::arange(12).remainder(10),
          .student = shapes(student),
          .teachers = {{.taps = shapes(teacher)}}};
}

/// A student that offers the features which a loss asks for: the small network, or else another by its defaults.
std::string student_for(const std::string& loss) {
  std::vector<std::string> students{kSmallNetwork};
  for (const std::string& type : kd::registry().names("model")) students.push_back(by_default(type));
  for (const std::string& student : students) {
    try {
      kd::make<kd::Loss>(by_default(loss), context_of(student, kSmallNetwork));
      return student;
    } catch (const kd::RecipeError&) {
    }
  }
  return kSmallNetwork;
}

kd::LossNeeds needs_of(const std::string& loss) {
  return kd::make<kd::Loss>(by_default(loss), context_of(student_for(loss), kSmallNetwork))->needs();
}

/// The augmentations that make the extra views which a loss asks for, to stand before `normalize`.
std::string views_for(const std::string& loss) {
  std::string augment;
  for (const kd::ViewRequest& request : needs_of(loss).views) {
    for (const std::string& type : kd::registry().names("augmentation")) {
      const auto names = kd::make<kd::Augmentation>(by_default(type), {.data = data_info()})->view_names();
      if (std::find(names.begin(), names.end(), request.name) == names.end()) continue;
      augment += by_default(type) + ", ";
      break;
    }
  }
  return augment;
}

/// What is trained in three steps.
struct Student {
  std::string model, augment, losses;
  std::string sizing =
      "";  ///< of the teacher's images too, where they must be of one size: an augmentation and a comma
  bool two_teachers = false;
  double unlabelled = 0;  ///< share of the images
};

/// Ends a run in the middle of its second stage, as a kill would.
class Killer final : public kd::Progress {
 public:
  struct Killed : std::exception {};

  void say(const std::string&) override {}
  void warn(const std::string&) override {}
  void step(const kd::StepProgress& progress) override {
    if (progress.stage == "student" && progress.batch == 2) throw Killed();
  }
  void epoch(const kd::EpochSummary&) override {}
};

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

  kd::RunResult run(const Student& student, kd::Progress& progress, const std::string& runs = "runs") {
    const char* second = R"([[stage]]
name = "teacher_2"
model = { type = "resnet", depth = 8 }
optimizer = { type = "sgd", lr = 0.02 }
augment = [{ type = "normalize" }]
)";
    std::ofstream(folder_ / "recipe.toml") << fmt::format(
        R"(device = "{}"
[data]
type = "glyphs"
like = "cifar10"
train = 12
test = 4
unlabelled = {}
[train]
epochs = 1
batch_size = 4
threads = 1
checkpoint_seconds = 0
precision = "{}"
optimizer = {{ type = "sgd", lr = 0.01 }}
[[stage]]
name = "teacher"
model = {}
augment = [{}{{ type = "normalize" }}]
{}
[[stage]]
name = "student"
scheme = {{ type = "vanilla_kd", losses = [{}] }}
teachers = [{{ stage = "teacher" }}{}]
model = {}
augment = [{}]
)",
        GetParam().device, student.unlabelled, GetParam().precision, kSmallNetwork, student.sizing,
        student.two_teachers ? second : "", student.losses, student.two_teachers ? ", { stage = 'teacher_2' }" : "",
        student.model, student.augment);
    plan_ = kd::read_recipe((folder_ / "recipe.toml").string(), {}, kd::registry());
    return kd::run_experiment(plan_, {.data_root = "", .runs_folder = folder_ / runs, .arguments = {}}, progress);
  }

  /// The student's parameters must have moved.
  void train(const Student& student) {
    SCOPED_TRACE(
        fmt::format("model = {}, augment = [{}], losses = [{}]", student.model, student.augment, student.losses));
    kd::RunResult result;
    ASSERT_NO_THROW(result = run(student, silence_));
    EXPECT_TRUE(std::isfinite(result.stages.back().networks[0].test.nll));
    const kd::StagePlan& stage = plan_.stages.back();
    const auto fresh = kd::place_model(stage.networks[0].model, data_info(), kd::stage_key(plan_, stage).with("model"),
                                       kd::Placement{});
    const kd::TensorMap trained = kd::read_safetensors(result.stages.back().folder / "ckpt/last/model.safetensors");
    bool moved = false;
    for (const auto& item : fresh->module()->named_parameters())
      moved |= !at::equal(item.value(), trained.at(item.key()));
    EXPECT_TRUE(moved);
  }

  kd::SilentProgress silence_;

 private:
  const fs::path folder_;
  kd::ExperimentPlan plan_;
};

TEST_P(ComponentsTest, EveryModelTrains) {
  for (const std::string& type : kd::registry().names("model"))
    train({.model = by_default(type), .augment = by_default("normalize"), .losses = kCrossEntropy});
}

TEST_P(ComponentsTest, EveryAugmentationTrains) {
  for (const std::string& type : kd::registry().names("augmentation")) {
    const auto parsed = kd::parse_components("augmentation", "[" + by_default(type) + "]");
    if (kd::make_sizing(parsed, data_info()) == nullptr) {
      train({.model = kSmallNetwork, .augment = by_default(type), .losses = kCrossEntropy});
    } else {  // smaller than its default, which photographs want
      const std::string small = "{ type = '" + type + "', size = 32 }";
      train({.model = kSmallNetwork, .augment = small, .losses = kCrossEntropy, .sizing = small + ", "});
    }
  }
}

/// A student that trains with a loss by its defaults, beside the labels.
Student student_of(const std::string& loss) {
  return {.model = student_for(loss),
          .augment = views_for(loss) + by_default("normalize"),
          .losses = by_default(loss) + ", " + kCrossEntropy};
}

TEST_P(ComponentsTest, EveryLossTrains) {
  for (const std::string& type : kd::registry().names("loss")) train(student_of(type));
}

/// What is tried in one precision.
class LossesTest : public ComponentsTest {};

TEST_P(LossesTest, EveryLossWithSeveralTeachersTrains) {
  for (const std::string& type : kd::registry().names("loss")) {
    Student student = student_of(type);
    student.two_teachers = true;
    if (needs_of(type).teacher) train(student);
  }
}

TEST_P(LossesTest, EveryLossTakesImagesWithoutLabels) {
  for (const std::string& type : kd::registry().names("loss")) {
    Student student = student_of(type);
    student.unlabelled = 0.4;
    train(student);
  }
}

TEST_P(LossesTest, EveryLossTakesMixedTargetsOrRefusesThem) {
  for (const std::string& type : kd::registry().names("loss")) {
    Student student = student_of(type);
    student.augment += ", " + by_default("mixup");
    if (needs_of(type).one_label) {
      std::string problem;
      try {
        run(student, silence_);
      } catch (const kd::Error& error) {
        problem = error.what();
      }
      EXPECT_NE(problem.find("mixed"), std::string::npos) << type << ": " << problem;
    } else {
      train(student);
    }
  }
}

TEST_P(LossesTest, AfterAKillEveryLossGoesOnAsIfNothingHadHappened) {
  for (const std::string& type : kd::registry().names("loss")) {
    SCOPED_TRACE(type);
    const Student student = student_of(type);
    Killer killer;
    EXPECT_THROW(run(student, killer, "killed"), Killer::Killed);
    const fs::path resumed = run(student, silence_, "killed").stages.back().folder / "ckpt/last";
    const fs::path whole = run(student, silence_).stages.back().folder / "ckpt/last";
    std::size_t files = 0;
    for (const fs::directory_entry& file : fs::directory_iterator(whole)) {
      if (file.path().extension() != ".safetensors") continue;
      const kd::TensorMap expected = kd::read_safetensors(file.path());
      const kd::TensorMap actual = kd::read_safetensors(resumed / file.path().filename());
      ++files;
      ASSERT_EQ(expected.size(), actual.size()) << file.path();
      for (const auto& [name, tensor] : expected)
        EXPECT_TRUE(at::equal(tensor, actual.at(name))) << file.path() << name;
    }
    EXPECT_GE(files, 1U);
  }
}

std::vector<Case> cases(const std::vector<std::string>& precisions) {
  std::vector<Case> all;
  for (const at::Device& device : kd::testing::devices()) {
    for (const std::string& precision : precisions) all.push_back({device.is_cuda() ? "cuda" : "cpu", precision});
  }
  return all;
}

std::string name_of(const ::testing::TestParamInfo<Case>& instance) {
  return instance.param.device + "_" + instance.param.precision;
}

INSTANTIATE_TEST_SUITE_P(Devices, ComponentsTest, ::testing::ValuesIn(cases({"fp32", "bf16"})), name_of);
INSTANTIATE_TEST_SUITE_P(Devices, LossesTest, ::testing::ValuesIn(cases({"fp32"})), name_of);

}  // namespace
