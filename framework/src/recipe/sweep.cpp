// sweep.h: from [sweep] to a plan for every point.
#include "recipe/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

#include "files/digest.h"
#include "recipe/merge.h"
#include "recipe/paths.h"
#include "recipe/planner.h"
#include "recipe/stage_order.h"
#include "recipe/sweep_table.h"

namespace kd {
namespace {

/// All combinations of one choice of each variation, the last one changing fastest.
std::vector<std::vector<Setting>> combine(const std::vector<Variation>& variations) {
  std::vector<std::vector<Setting>> points = {{}};
  for (const Variation& variation : variations) {
    std::vector<std::vector<Setting>> longer;
    for (const std::vector<Setting>& point : points) {
      for (const std::vector<Setting>& choice : variation) {
        longer.push_back(point);
        longer.back().insert(longer.back().end(), choice.begin(), choice.end());
      }
    }
    points = std::move(longer);
  }
  return points;
}

std::vector<std::string> keys_of(const std::vector<Variation>& variations) {
  std::vector<std::string> keys;
  for (const Variation& variation : variations) {
    for (const std::vector<Setting>& choice : variation) {
      for (const Setting& setting : choice) {
        if (std::find(keys.begin(), keys.end(), setting.path) == keys.end()) keys.push_back(setting.path);
      }
    }
  }
  return keys;
}

/// Adds to `all` what it does not know yet.
void add_new(const Diagnostics& found, Diagnostics& all, std::set<std::string>& known) {
  for (const Problem& problem : found.problems()) {
    if (known.insert(problem.location.to_string() + problem.message).second)
      all.error(problem.location, problem.message, problem.hint);
  }
}

/// Reports a setting that another one of the point has changed again: its name would say what was not trained.
void require_in_effect(const Value& laid, const std::vector<Setting>& settings, const std::string& what,
                       Diagnostics& found) {
  for (const Setting& setting : settings) {
    Value again = laid;
    Diagnostics ignored;
    apply_setting(again, setting, ignored);
    if (again == laid || !ignored.ok()) continue;
    found.error(setting.location, fmt::format("sweep: '{}' is changed again by {}", setting.path, what));
  }
}

/// Where the seeds come from: the command line, [sweep], or the recipe's own.
std::vector<std::int64_t> seeds_of(const SweepOptions& options, const SweepTable& table, const Value& recipe) {
  if (!options.seeds.empty()) return options.seeds;
  if (!table.seeds.empty()) return table.seeds;
  const Value* seed = recipe.find("seed");
  return {seed != nullptr && seed->is_int() ? seed->as_int() : 0};
}

}  // namespace

std::vector<std::string> SweepPoint::overrides() const {
  std::vector<std::string> all;
  for (const auto& [path, value] : settings) all.push_back(path + "=" + value);
  all.push_back(fmt::format("seed={}", seed));
  return all;
}

std::string SweepPlan::label(const SweepPoint& point) const {
  std::string text;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto found = std::find_if(point.settings.begin(), point.settings.end(),
                                    [&](const PointSetting& setting) { return setting.first == keys[i]; });
    if (found != point.settings.end()) text += fmt::format("{}={}, ", short_keys[i], found->second);
  }
  return text + fmt::format("seed {}", point.seed);
}

SweepPlan read_sweep(const std::string& file, const RecipeOptions& options, const SweepOptions& sweep,
                     const ComponentCatalog& catalog) {
  Diagnostics diagnostics;
  const Value recipe = read_laid(file, options, diagnostics);
  check_other_profiles(file, options, catalog, diagnostics);
  SweepTable table = read_sweep_table(recipe, diagnostics);
  add_command_line(sweep, table, diagnostics);
  diagnostics.throw_if_any();

  SweepPlan result{.recipe_file = file,
                   .recipe_name = {},
                   .title = {},
                   .keys = keys_of(table.variations),
                   .short_keys = {},
                   .seeds = seeds_of(sweep, table, recipe),
                   .points = {}};
  result.short_keys = shortened(result.keys);
  std::vector<Setting> given;
  for (const std::string& text : options.overrides) given.push_back(parse_override(text, diagnostics));
  std::set<std::string> known;
  std::map<std::string, std::string> trained;  // names of points by what they train
  for (const std::vector<Setting>& settings : combine(table.variations)) {
    for (const std::int64_t seed : result.seeds) {
      Diagnostics found;
      SweepPoint point{.settings = {}, .seed = seed, .plan = {}};
      Value laid = recipe;
      for (const Setting& setting : settings) {
        apply_setting(laid, setting, found);
        point.settings.emplace_back(setting.path, setting.value.to_toml());
      }
      for (const Setting& rest : complements(laid, settings, table.complemented, found)) {
        apply_setting(laid, rest, found);
        point.settings.emplace_back(rest.path, rest.value.to_toml());
      }
      laid.set("seed", seed);
      require_in_effect(laid, settings, "another setting of the sweep", found);
      require_in_effect(laid, given, "the sweep", found);
      point.plan = plan_recipe(laid, catalog, found);
      name_plan(point.plan, file);
      const auto [same, is_new] = trained.emplace(write_recipe(point.plan.resolved), result.label(point));
      if (!is_new && found.ok()) {
        found.error({std::make_shared<const std::string>(file), 0, 0},
                    fmt::format("sweep: two points are the same: '{}' and '{}'", same->second, result.label(point)));
      }
      add_new(found, diagnostics, known);
      result.points.push_back(std::move(point));
    }
  }
  diagnostics.throw_if_any();
  result.recipe_name = result.points.front().plan.recipe_name;
  result.title = result.points.front().plan.title;
  return result;
}

std::string resolved_digest(const ExperimentPlan& plan) {
  Value resolved = plan.resolved;
  resolved.erase("device");
  return Digest().add(write_recipe(resolved)).hex().substr(0, 16);
}

std::map<std::string, std::string> stage_identities(const ExperimentPlan& plan) {
  std::map<std::string, std::string> identities;
  for (const StagePlan& stage : plan.stages) {
    std::string text = fmt::format("seed {} device {} {}", plan.seed, plan.device, stage.resolved.to_toml());
    for (const std::string& need : needs_of(stage)) text += "\n< " + identities[need];
    identities[stage.name] = std::move(text);
  }
  return identities;
}

}  // namespace kd
