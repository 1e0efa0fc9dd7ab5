// What a sweep trains: a recipe at every point of a grid, of chosen combinations and of seeds.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kd/api.h"
#include "recipe/plan.h"

namespace kd {

/// What the command line varies, beside [sweep] of the recipe; `grid` and `zip` read "path=[values]", `list` reads
/// "{ path = value, … }".
struct KD_API SweepOptions {
  std::vector<std::string> grid, zip, list;
  std::vector<std::int64_t> seeds;  ///< in place of the recipe's
};

/// A setting of a point as overrides read: "stage.student.scheme.losses.kd.weight" and "0.9".
using PointSetting = std::pair<std::string, std::string>;

struct KD_API SweepPoint {
  std::vector<PointSetting> settings;  ///< in the order of the sweep's keys, and then what `complement` added
  std::int64_t seed = 0;
  ExperimentPlan plan;

  /// What this point adds to the command that runs the recipe: settings and seed.
  std::vector<std::string> overrides() const;
};

struct KD_API SweepPlan {
  std::string recipe_file, recipe_name, title;
  std::vector<std::string> keys;        ///< paths that are varied
  std::vector<std::string> short_keys;  ///< their ends, as long as they need to be to differ
  std::vector<std::int64_t> seeds;
  std::vector<SweepPoint> points;  ///< the seeds of a combination one after the other

  /// "temperature=4, lr=0.1, seed 0"
  std::string label(const SweepPoint& point) const;
};

/// Reads the recipe once for every point. Throws RecipeError with every problem of every point, each once.
KD_API SweepPlan read_sweep(const std::string& file, const RecipeOptions& options, const SweepOptions& sweep,
                            const ComponentCatalog& catalog);

/// Digest of a resolved recipe, whatever its device: a sweep's points must be trained as they were read.
KD_API std::string resolved_digest(const ExperimentPlan& plan);

/// For each stage of a point, text that is equal for stages that have one result: those need to be trained once.
KD_API std::map<std::string, std::string> stage_identities(const ExperimentPlan& plan);

}  // namespace kd
