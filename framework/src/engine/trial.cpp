// trial.h
#include "engine/trial.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <thread>

#include "engine/device.h"
#include "kd/logits.h"
#include "kd/plugin.h"
#include "kd/schedule.h"
#include "plugin/registry.h"

namespace kd {
namespace {

/// Told of a number that a schedule gives: what it belongs to, its declaration, and the schedule's table.
using Visit = std::function<void(const std::string& what, const FieldInfo& field, const Value& schedule)>;

void visit_component(const std::string& kind, const std::vector<FieldInfo>& extras, const Value& table,
                     const Visit& visit);

/// Visits every scheduled number of a resolved table, those of nested components included.
void visit_fields(const std::vector<FieldInfo>& fields, const Value& table, const std::string& what,
                  const Visit& visit) {
  for (const FieldInfo& field : fields) {
    const Value* value = table.find(field.name);
    if (value == nullptr) continue;
    if (field.type == FieldType::kScheduled && value->is_table()) visit(what, field, *value);
    if (field.type == FieldType::kComponent && value->is_table())
      visit_component(field.component_kind, field.extras, *value, visit);
    if (field.type != FieldType::kComponentList || !value->is_list()) continue;
    for (const Value& item : value->as_list()) visit_component(field.component_kind, field.extras, item, visit);
  }
}

void visit_component(const std::string& kind, const std::vector<FieldInfo>& extras, const Value& table,
                     const Visit& visit) {
  const std::string type = table.find("type")->as_string();
  const std::string what = fmt::format("{} '{}'", kind, type);
  if (const auto* fields = registered_components().fields(kind, type)) visit_fields(*fields, table, what, visit);
  visit_fields(extras, table, what, visit);
}

void visit_scheme(const StagePlan& plan, const Visit& visit) {
  if (const Value* scheme = plan.resolved.find("scheme")) visit_component("scheme", {}, *scheme, visit);
}

/// The first and the last step of each epoch, or of a thousand where there are more.
std::vector<ScheduleTime> sampled_times(const StagePlan& plan, std::int64_t batches) {
  std::vector<ScheduleTime> times;
  const std::int64_t epochs = std::max<std::int64_t>(1, plan.train.epochs);  // one that trains nothing is tried too
  const std::int64_t stride = std::max<std::int64_t>(1, epochs / 1000);
  for (std::int64_t epoch = 0; epoch < epochs; epoch += stride) {
    for (const std::int64_t step : {epoch * batches, (epoch + 1) * batches - 1})
      times.push_back({.step = step, .steps_per_epoch = batches, .epochs = epochs});
  }
  return times;
}

bool is_within(double value, const FieldInfo& field) {
  const bool high_enough =
      !field.low || value > field.low->value || (field.low->inclusive && value == field.low->value);
  const bool low_enough =
      !field.high || value < field.high->value || (field.high->inclusive && value == field.high->value);
  return std::isfinite(value) && high_enough && low_enough;
}

/// Which scheduled numbers of the scheme are zero at each of the times.
std::vector<std::vector<bool>> zeros_at(const StagePlan& plan, const std::vector<ScheduleTime>& times) {
  std::vector<std::vector<bool>> zeros(times.size());
  visit_scheme(plan, [&](const std::string&, const FieldInfo&, const Value& table) {
    const auto schedule = make<Schedule>(to_component("schedule", {}, table));
    for (std::size_t i = 0; i < times.size(); ++i) zeros[i].push_back(schedule->value(times[i]) == 0);
  });
  return zeros;
}

/// Goes back through the objective and changes nothing.
class TrialUpdater final : public Updater {
 public:
  TrialUpdater(const StagePlan& plan, std::int64_t classes) : plan_(plan), classes_(classes) {}

  void update(Network& network, const std::vector<Term>& terms, const Counted& counted) override {
    at::Tensor objective;
    for (const Term& term : terms) {
      check_scalar(term);
      if (term.weight != 0 && !term.value.requires_grad()) {
        refuse(fmt::format("the loss '{}' of network '{}' has no gradient: nothing that is trained is in its value",
                           term.name, network.name()));
      }
      objective = objective.defined() ? objective + term.value * term.weight : term.value * term.weight;
    }
    if (!objective.defined()) {
      refuse(fmt::format("network '{}' has no loss in epoch {}: there is none, or each has weight 0", network.name(),
                         now.whole_epoch() + 1));
    }
    check_counted(counted);
    if (!objective.requires_grad()) refuse(fmt::format("no loss of network '{}' has a gradient", network.name()));
    const WithoutAutocast own_precision(objective.device());
    objective.backward();
    ++updates;
  }
  ScheduleTime time() const override { return now; }
  RandomKey key() const override { return RandomKey{}.with("trial"); }
  RandomKey epoch_key() const override { return key(); }

  ScheduleTime now;
  int updates = 0;

 private:
  [[noreturn]] void refuse(const std::string& message) const { throw RecipeError(plan_.scheme.location, message); }

  void check_scalar(const Term& term) const {
    if (term.value.defined() && term.value.dim() == 0 && term.value.is_floating_point()) return;
    refuse(fmt::format("the loss '{}' gives {}, and a scalar is wanted", term.name,
                       term.value.defined() ? fmt::format("{} of shape {}", c10::toString(term.value.scalar_type()),
                                                          c10::str(term.value.sizes()))
                                            : "nothing"));
  }
  void check_counted(const Counted& counted) const {
    const bool fits = counted.logits.dim() == 2 && counted.logits.size(1) == classes_ &&
                      counted.targets.labels.dim() == 1 && counted.logits.size(0) == counted.targets.labels.size(0);
    if (fits) return;
    refuse(fmt::format("scheme '{}' has logits of shape {} counted against labels of shape {}", plan_.scheme.type,
                       c10::str(counted.logits.sizes()), c10::str(counted.targets.labels.sizes())));
  }

  const StagePlan& plan_;
  const std::int64_t classes_;
};

/// A network must give a row of logits for each image, and the features that it names.
void check_outputs(const Outputs& outputs, const TapRequest& taps, std::int64_t rows, std::int64_t classes,
                   const std::string& what) {
  const at::Tensor& logits = outputs.logits;
  if (logits.dim() != 2 || logits.size(0) != rows || logits.size(1) != classes) {
    throw Error(fmt::format("{} gives logits of shape {} for {} images of {} classes", what, c10::str(logits.sizes()),
                            rows, classes));
  }
  for (const std::string& tap : taps) {
    if (!outputs.taps.has(tap)) throw Error(fmt::format("{} names the feature '{}' and does not give it", what, tap));
  }
}

Batch trial_batch(const StageParts& parts, std::int64_t rows) {
  const Batch batch = parts.first_batch(rows);
  if (batch.images.dim() != 4 || batch.images.size(0) != rows || !batch.images.is_floating_point()) {
    throw Error(fmt::format("the augmentations give images of type {} and shape {}",
                            c10::toString(batch.images.scalar_type()), c10::str(batch.images.sizes())));
  }
  return batch;
}

}  // namespace

void check_schedules(const StagePlan& plan, const RunContext& context, Diagnostics& diagnostics) {
  const auto times = sampled_times(plan, batches_per_epoch(plan, context.data->get(plan.data, plan.train)));
  visit_scheme(plan, [&](const std::string& what, const FieldInfo& field, const Value& table) {
    const auto schedule = make<Schedule>(to_component("schedule", {}, table));
    const auto wrong = std::find_if(times.begin(), times.end(),
                                    [&](const ScheduleTime& time) { return !is_within(schedule->value(time), field); });
    if (wrong == times.end()) return;
    const std::string range = field.range_text().empty() ? "finite" : field.range_text();
    diagnostics.error(table.location,
                      fmt::format("stage '{}': {}: '{}' is {} in epoch {} by its schedule, and must be {}", plan.name,
                                  what, field.name, schedule->value(*wrong), wrong->whole_epoch() + 1, range));
  });
}

void warn_of_settings(const StagePlan& plan, const RunContext& context) {
  const auto warn = [&](const std::string& text) {
    context.progress.warn(fmt::format("stage '{}': {}", plan.name, text));
  };
  const ComponentSpec& schedule = plan.train.schedule;
  const bool plateau = schedule && (schedule.type == "plateau" ||
                                    schedule.parameters.to_toml().find("\"plateau\"") != std::string::npos);
  if ((plan.train.early_stopping > 0 || plateau) && !context.data->get(plan.data, plan.train).has_validation()) {
    warn(fmt::format("{} watches the test split, because there is no validation split: data.validation = N makes one",
                     plateau ? "the schedule 'plateau'" : "early_stopping"));
  }
  const auto processors = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  if (processors > 0 && plan.train.threads > processors)
    warn(fmt::format("threads = {}, and there are {} processors", plan.train.threads, processors));
  const Value* milestones = schedule ? schedule.parameters.find("milestones") : nullptr;
  if (plan.train.epochs == 0 || milestones == nullptr || !milestones->is_list()) return;
  for (const Value& milestone : milestones->as_list()) {
    if (!milestone.is_int() || milestone.as_int() < plan.train.epochs) continue;
    warn(fmt::format("the milestone {} is not before the end of its {} epochs", milestone.as_int(), plan.train.epochs));
    return;
  }
}

void try_steps(const StagePlan& plan, StageParts& parts) {
  const std::int64_t batches = batches_per_epoch(plan, parts.training_data());
  const std::int64_t rows = std::min<std::int64_t>({2, parts.samples(), plan.train.batch_size});
  const std::int64_t classes = parts.data().classes();
  const auto& trained = parts.trained();
  const Batch batch = trial_batch(parts, rows);
  for (std::size_t i = 0; i < trained.size(); ++i) {
    const TapRequest taps = trained[i]->model().tap_names();
    check_outputs(trained[i]->answer(batch.images, taps), taps, rows, classes,
                  fmt::format("model '{}'", plan.networks[i].model.type));
  }
  for (const auto& teacher : parts.frozen()) {
    check_outputs(teacher->forward(batch.images, {}, Gradient::kNone), {}, rows, classes,
                  fmt::format("teacher '{}'", teacher->name()));
  }
  TrialUpdater updater(plan, classes);
  const auto times = sampled_times(plan, batches);
  const auto zeros = zeros_at(plan, times);
  std::set<std::vector<bool>> tried;
  for (std::size_t i = 0; i < times.size(); ++i) {
    if (!tried.insert(zeros[i]).second) continue;
    updater.now = times[i];
    parts.step(trial_batch(parts, rows), times[i].step, updater);
  }
  if (updater.updates == 0) throw RecipeError(plan.scheme.location, "the scheme updates no network");
  // Batch norm of maps of one pixel wants two images, and the last batch of an epoch may have one.
  const bool last_has_one = !plan.train.drop_last && plan.train.batch_size > 1 && rows > 1 &&
                            parts.training_data().sources.rows(plan.train.batch_size) % plan.train.batch_size == 1;
  if (!last_has_one) return;
  try {
    parts.step(trial_batch(parts, 1), 0, updater);
  } catch (const std::exception& error) {
    throw RecipeError(
        plan.location,
        fmt::format("the last batch of an epoch has one image, with which a step fails: {}", message_of(error)),
        "drop_last = true, or another batch_size");
  }
}

double time_step(const StagePlan& plan, StageParts& parts) {
  const std::int64_t rows = std::min(parts.samples(), plan.train.batch_size);
  TrialUpdater updater(plan, parts.data().classes());
  double shortest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 4; ++i) {  // the first warms up
    const auto begin = std::chrono::steady_clock::now();
    parts.step(trial_batch(parts, rows), 0, updater);
    synchronize(parts.training_data().train.labels().device());
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (i > 0) shortest = std::min(shortest, seconds);
  }
  return shortest;
}

}  // namespace kd
