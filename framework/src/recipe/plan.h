// What a recipe asks for, checked and complete: the only thing that the engine reads.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kd/api.h"
#include "kd/schema.h"

namespace kd {

enum class Precision { kAuto, kFp32, kTf32, kBf16, kFp16 };
enum class AutoOnOff { kAuto, kOn, kOff };

/// `[train]`, and what a stage may override of it.
struct KD_API TrainSettings {
  std::int64_t epochs = 1;
  std::int64_t batch_size = 64;
  std::int64_t accumulate = 1;
  std::int64_t evaluate_every = 1;
  std::int64_t evaluation_batch_size = 1000;
  std::int64_t early_stopping = 0;
  std::int64_t threads = 0;
  std::int64_t loader_threads = 0;
  bool drop_last = false;
  bool cuda_graph = true;
  bool sync_batch_norm = false;
  double max_gradient_norm = 0;
  double ema = 0;
  double checkpoint_seconds = 60;
  Precision precision = Precision::kAuto;
  AutoOnOff teacher_cache = AutoOnOff::kAuto;
  AutoOnOff keep_images = AutoOnOff::kAuto;
  AutoOnOff channels_last = AutoOnOff::kAuto;
  ComponentSpec optimizer;
  ComponentSpec schedule;
  std::vector<ComponentSpec> augment;

  static void schema(Schema<TrainSettings>& s);
};

/// Keys beside the parameters of a data set whose images join the training set without their labels.
struct KD_API UnlabelledSource {
  double share = 0.5;
  std::int64_t images = 0;
  std::vector<std::int64_t> exclude_classes;

  static void schema(Schema<UnlabelledSource>& s);
};

/// Which part of a data set is used: keys that stand beside the data set's own parameters.
struct KD_API DataSelection {
  std::int64_t validation = 0;
  std::vector<std::int64_t> classes;
  std::vector<std::int64_t> exclude_classes;
  double fraction = 1;
  std::int64_t per_class = 0;
  double label_noise = 0;
  double unlabelled = 0;
  double imbalance = 1;
  ComponentSpec unlabelled_from;  ///< extras: UnlabelledSource; empty: none

  static void schema(Schema<DataSelection>& s);
};

/// Where trained weights come from: an earlier stage, a stage of another run, or a file.
struct KD_API NetworkSource {
  std::string stage, run, file;
  std::string network;  ///< empty: the stage's only one
  std::string checkpoint = "best";
  Location location;
};

/// What a network begins with in place of random weights.
struct KD_API InitPlan : NetworkSource {
  std::vector<std::string> parts;  ///< beginnings of names; empty: all that fits

  static void schema(Schema<InitPlan>& s);
};

/// How a network is trained, beside what its stage says for all.
struct KD_API NetworkSettings {
  std::optional<InitPlan> init;
  std::vector<std::string> freeze;      ///< parts that keep their weights
  std::map<std::string, double> rates;  ///< factors of the learning rate by part
};

/// A network that a stage trains.
struct KD_API NetworkPlan : NetworkSettings {
  std::string name;
  ComponentSpec model;
  ComponentSpec optimizer, schedule;  ///< its own, or empty: the stage's
};

/// A frozen network that others learn from.
struct KD_API TeacherPlan : NetworkSource {
  double temperature = 1;
  ComponentSpec model;  ///< for a file
  double weight = 1;
  bool training_mode = false;

  static void schema(Schema<TeacherPlan>& s);
};

struct KD_API StagePlan {
  std::string name;
  ComponentSpec scheme;
  ComponentSpec data;  ///< extras: DataSelection
  std::vector<NetworkPlan> networks;
  std::vector<TeacherPlan> teachers;
  TrainSettings train;
  Value resolved;  ///< the stage's table with every default
  Location location;
};

struct KD_API ExperimentPlan {
  std::string recipe_file;
  std::string recipe_name;  ///< file name without its ending
  std::string title;
  std::int64_t seed = 0;
  std::string device;
  std::vector<StagePlan> stages;
  std::vector<ComponentSpec> analyses;
  Value resolved;  ///< the whole recipe with every default; read back, it gives the same plan
};

/// What the command line adds to a recipe.
struct KD_API RecipeOptions {
  std::string profile;                 ///< names with commas between them, laid on in this order; empty: none
  std::vector<std::string> overrides;  ///< "train.epochs=5"
};

/// Reads a recipe with everything it extends, applies profile and overrides, and checks it against `catalog`. Throws
/// RecipeError that lists every problem.
KD_API ExperimentPlan read_recipe(const std::string& file, const RecipeOptions& options,
                                  const ComponentCatalog& catalog);

/// The data and training settings that a trained stage's settings.toml holds. Throws RecipeError as read_recipe does.
struct KD_API StageSettings {
  ComponentSpec data;
  TrainSettings train;
};
KD_API StageSettings read_stage_settings(const std::string& file, const ComponentCatalog& catalog);

/// Whether `name` is auto, cpu, cuda or cuda:N; not whether there is such a device.
KD_API bool is_device_name(const std::string& name);

/// Lines "key = value" of a resolved recipe in order; each with the place that set it.
struct KD_API SettingOrigin {
  std::string key;
  Value value;
  Location location;
};
KD_API std::vector<SettingOrigin> list_settings(const Value& resolved);

/// A whole recipe as TOML text, one setting a line, stages as [[stage]].
KD_API std::string write_recipe(const Value& resolved);

}  // namespace kd
