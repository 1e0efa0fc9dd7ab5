// estimate.h
#include "engine/estimate.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/device.h"
#include "engine/stage_parts.h"
#include "engine/trial.h"

namespace kd {
namespace {

/// The types of all components below a value, in order.
void collect_types(const Value& value, std::string& text) {
  if (value.is_list()) {
    for (const Value& item : value.as_list()) collect_types(item, text);
  }
  if (!value.is_table()) return;
  if (const Value* type = value.find("type")) text += type->to_toml() + " ";
  for (const Member& member : value.as_table()) collect_types(member.value, text);
}

/// Of a stage with its data, where a step takes `step` seconds.
double stage_seconds(const StagePlan& plan, const TrainingData& data, double step) {
  const auto epochs = static_cast<double>(plan.train.epochs);
  const auto batches = static_cast<double>(batches_per_epoch(plan, data));
  const double evaluations = std::max(1.0, epochs / static_cast<double>(plan.train.evaluate_every));
  const auto evaluated = static_cast<double>(data.test.samples() + data.validation.samples());
  // A pass without gradients is about a third of one with them.
  return step * (epochs * batches + evaluations * evaluated / static_cast<double>(plan.train.batch_size) / 3);
}

}  // namespace

std::string cost_signature(const StagePlan& stage) {
  std::string text = fmt::format("{} {} ", stage.train.batch_size, stage.train.threads);
  for (const NetworkPlan& network : stage.networks) text += network.model.type + network.model.parameters.to_toml();
  for (const TeacherPlan& teacher : stage.teachers) text += fmt::format(" < {} {} ", teacher.stage, teacher.file);
  collect_types(stage.resolved, text);
  return text;
}

std::map<std::string, double> TimeEstimate::seconds(const ExperimentPlan& plan) {
  RunContext context = make_context(plan, options_, progress_);
  std::map<std::string, std::string> signatures;
  std::map<std::string, double> result;
  for (const StagePlan& stage : plan.stages) {
    std::string text = cost_signature(stage);
    for (const TeacherPlan& teacher : stage.teachers) text += "\n< " + signatures[teacher.stage];
    signatures[stage.name] = text;
    auto known = known_.find(text);
    if (known == known_.end()) {
      StageParts parts(stage, context);
      parts.prepare_trial();
      known = known_.emplace(text, time_step(stage, parts)).first;
    }
    result[stage.name] = stage_seconds(stage, context.data->get(stage.data, stage.train), known->second);
  }
  return result;
}

}  // namespace kd
