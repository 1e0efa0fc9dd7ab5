// The tables of a recipe that are no component, each as its declaration has it; the rest of them is in plan.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kd/schema.h"
#include "recipe/plan.h"

namespace kd {

/// The keys of a recipe's top level, beside its tables.
struct RecipeKeys {
  std::string title, device;
  std::int64_t seed = 0;
  ComponentSpec data;
  std::vector<ComponentSpec> analyses;

  static void schema(Schema<RecipeKeys>& s);
};

/// What stands beside each of `models`.
struct NetworkExtras : NetworkSettings {
  std::string name;
  std::int64_t count = 1;
  ComponentSpec optimizer, schedule;

  static void schema(Schema<NetworkExtras>& s);
};

/// The keys of a stage, beside those of TrainSettings.
struct StageKeys : NetworkSettings {
  std::string name;
  ComponentSpec scheme, model;
  std::vector<ComponentSpec> models;

  static void schema(Schema<StageKeys>& s);
};

/// A table of a recipe, for the reference.
struct KD_API RecipeSection {
  std::string name;  ///< "train"
  std::string help;
  std::vector<FieldInfo> fields;
};

/// Every table of a recipe that is no component, from the top.
KD_API std::vector<RecipeSection> recipe_sections();

/// Keys that stand beside the parameters of a component in some place of a recipe: `type`, and for its kind `weight`,
/// `count` and the like.
KD_API std::vector<std::string> keys_beside(const std::string& kind);

}  // namespace kd
