// kd::LossList and kd::Objective: the weighted losses of a scheme.
#include <ATen/ops/cat.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <map>
#include <utility>

#include "kd/diagnostics.h"
#include "kd/loss.h"
#include "kd/scheme.h"

namespace kd {

struct LossList::Item {
  std::string name;
  std::unique_ptr<Loss> loss;
  ScheduledValue weight;
};

namespace {

struct Extras {
  Scheduled weight;

  static void schema(Schema<Extras>& s) {
    s.field("weight", &Extras::weight, "factor of this loss in the sum: a number, or a schedule").def(1.0);
  }
};

void append(TapRequest& to, const TapRequest& from) {
  for (const std::string& name : from) {
    if (std::find(to.begin(), to.end(), name) == to.end()) to.push_back(name);
  }
}

/// A view that one loss of a list teaches through does so for all.
void append(std::vector<ViewRequest>& to, const ViewRequest& request) {
  for (ViewRequest& known : to) {
    if (known.name != request.name) continue;
    known.gradient |= request.gradient;
    return;
  }
  to.push_back(request);
}

const at::Tensor& find_view(const Batch& batch, const std::string& name) {
  for (const View& view : batch.extra_views) {
    if (view.name == name) return view.images;
  }
  throw Error(fmt::format("the batch has no extra view '{}'", name));
}

/// The first `count` rows of every feature.
Outputs first_rows(const Outputs& outputs, const TapRequest& taps, std::int64_t count) {
  Outputs first{outputs.logits.narrow(0, 0, count), Taps(taps)};
  for (const std::string& tap : taps) first.taps.offer(tap, outputs.taps.at(tap).narrow(0, 0, count));
  return first;
}

}  // namespace

const at::Tensor& LossInput::view(const std::string& name) const {
  for (const ViewLogits& known : views) {
    if (known.view == name) return known.logits;
  }
  throw Error(fmt::format("no logits of an extra view '{}'", name));
}

std::vector<FieldInfo> LossList::extras() { return fields_of<Extras>(); }

LossList::LossList(const std::vector<ComponentSpec>& specs, const Loss::Context& context) {
  std::map<std::string, int> seen;
  for (const ComponentSpec& spec : specs) {
    const int count = ++seen[spec.type];
    items_.push_back({count == 1 ? spec.type : spec.type + "_" + std::to_string(count), make<Loss>(spec, context),
                      ScheduledValue(read_parameters<Extras>(spec.extras).weight)});
  }
}

LossList::~LossList() = default;

std::vector<Term> LossList::operator()(const LossInput& input) const {
  std::vector<Term> terms;
  for (const Item& item : items_) {
    const double weight = item.weight.at(input.time);
    if (weight != 0) terms.push_back({item.name, (*item.loss)(input), weight});
  }
  return terms;
}

LossNeeds LossList::needs() const {
  LossNeeds all;
  for (const Item& item : items_) {
    const LossNeeds needs = item.loss->needs();
    all.teacher |= needs.teacher;
    append(all.student_taps, needs.student_taps);
    append(all.teacher_taps, needs.teacher_taps);
    all.one_label |= needs.one_label;
    for (const ViewRequest& request : needs.views) append(all.views, request);
  }
  return all;
}

std::vector<std::shared_ptr<torch::nn::Module>> LossList::modules() const {
  std::vector<std::shared_ptr<torch::nn::Module>> modules;
  for (const Item& item : items_) {
    if (auto module = item.loss->module()) modules.push_back(std::move(module));
  }
  return modules;
}

Objective::Objective(const std::vector<ComponentSpec>& losses, StageContext& context, Network& network)
    : network_(network), losses_(losses, context.loss_context()), needs_(losses_.needs()) {
  context.require(needs_, network_);
  for (const auto& module : losses_.modules()) context.train_with(network_, module);
}

Objective::Pass Objective::forward(const Batch& batch) const {
  Pass pass;
  for (const ViewRequest& request : needs_.views) {
    if (request.gradient) continue;
    const c10::AutoGradMode no_gradient(false);
    pass.views.push_back({request.name, network_.forward(find_view(batch, request.name)).logits});
  }
  std::vector<at::Tensor> images{batch.images};
  for (const ViewRequest& request : needs_.views) {
    if (request.gradient) images.push_back(find_view(batch, request.name));
  }
  if (images.size() == 1) {
    pass.outputs = network_.forward(batch.images, needs_.student_taps);
    return pass;
  }
  const Outputs all = network_.forward(at::cat(images), needs_.student_taps);
  std::int64_t row = batch.size();
  for (const ViewRequest& request : needs_.views) {
    if (!request.gradient) continue;
    pass.views.push_back({request.name, all.logits.narrow(0, row, batch.size())});
    row += batch.size();
  }
  pass.outputs = first_rows(all, needs_.student_taps, batch.size());
  return pass;
}

std::vector<Term> Objective::terms(const Pass& pass, const Batch& batch, const Outputs* teacher,
                                   const ScheduleTime& time) const {
  return losses_({.student = pass.outputs,
                  .teacher = teacher,
                  .targets = batch.targets,
                  .index = batch.index,
                  .time = time,
                  .views = pass.views});
}

void Objective::step(const Batch& batch, const Outputs* teacher, Updater& updater) const {
  updater.update(network_, terms(forward(batch), batch, teacher, updater.time()));
}

}  // namespace kd
