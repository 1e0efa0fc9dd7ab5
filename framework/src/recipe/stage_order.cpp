// stage_order.h
#include "recipe/stage_order.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "kd/diagnostics.h"

namespace kd {

std::vector<std::string> needs_of(const StagePlan& stage) {
  std::vector<std::string> needs;
  const auto add = [&](const NetworkSource& source) {
    const bool known = std::find(needs.begin(), needs.end(), source.stage) != needs.end();
    if (!source.stage.empty() && source.run.empty() && !known) needs.push_back(source.stage);
  };
  for (const TeacherPlan& teacher : stage.teachers) add(teacher);
  for (const NetworkPlan& network : stage.networks) {
    if (network.init) add(*network.init);
  }
  return needs;
}

ExperimentPlan only_stages(ExperimentPlan plan, const std::vector<std::string>& names) {
  std::vector<std::string> known;
  for (const StagePlan& stage : plan.stages) known.push_back(stage.name);
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw RecipeError({}, fmt::format("the recipe has no stage '{}'", name), name_hint(name, known, "it has"));
  }
  std::set<std::string> kept(names.begin(), names.end());
  for (auto stage = plan.stages.rbegin(); stage != plan.stages.rend(); ++stage) {  // needs stand before
    if (!kept.contains(stage->name)) continue;
    for (const std::string& need : needs_of(*stage)) kept.insert(need);
  }
  std::erase_if(plan.stages, [&](const StagePlan& stage) { return !kept.contains(stage.name); });
  plan.analyses.clear();
  return plan;
}

}  // namespace kd
