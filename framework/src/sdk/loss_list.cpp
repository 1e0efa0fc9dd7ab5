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

LossNeeds merged(LossNeeds all, const LossNeeds& more) {
  const auto add_taps = [](TapRequest& to, const TapRequest& from) {
    for (const std::string& name : from) {
      if (std::find(to.begin(), to.end(), name) == to.end()) to.push_back(name);
    }
  };
  all.teacher |= more.teacher;
  all.one_label |= more.one_label;
  add_taps(all.student_taps, more.student_taps);
  add_taps(all.teacher_taps, more.teacher_taps);
  for (const ViewRequest& request : more.views) {
    const auto known = std::find_if(all.views.begin(), all.views.end(),
                                    [&](const ViewRequest& one) { return one.name == request.name; });
    if (known == all.views.end()) {
      all.views.push_back(request);
    } else {
      known->gradient |= request.gradient;
    }
  }
  return all;
}

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
    if (weight != 0) terms.push_back({item.name, (*item.loss)(input), weight, item.loss->labelled_rows_only()});
  }
  return terms;
}

LossNeeds LossList::needs() const {
  LossNeeds all;
  for (const Item& item : items_) all = merged(std::move(all), item.loss->needs());
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

Pass forward(Network& network, const LossNeeds& needs, const Batch& batch) {
  Pass pass;
  for (const ViewRequest& request : needs.views) {
    if (request.gradient) continue;
    const c10::AutoGradMode no_gradient(false);
    pass.views.push_back({request.name, network.forward(find_view(batch, request.name)).logits});
  }
  std::vector<at::Tensor> images{batch.images};
  for (const ViewRequest& request : needs.views) {
    if (request.gradient) images.push_back(find_view(batch, request.name));
  }
  if (images.size() == 1) {
    pass.outputs = network.forward(batch.images, needs.student_taps);
    return pass;
  }
  const Outputs all = network.forward(at::cat(images), needs.student_taps);
  std::int64_t row = batch.size();
  for (const ViewRequest& request : needs.views) {
    if (!request.gradient) continue;
    pass.views.push_back({request.name, all.logits.narrow(0, row, batch.size())});
    row += batch.size();
  }
  pass.outputs = first_rows(all, needs.student_taps, batch.size());
  return pass;
}

void Objective::step(const Batch& batch, const Outputs* teacher, Updater& updater) const {
  const Pass pass = forward(network_, needs_, batch);
  updater.update(network_,
                 losses_({.student = pass.outputs,
                          .teacher = teacher,
                          .targets = batch.targets,
                          .index = batch.index,
                          .time = updater.time(),
                          .views = pass.views}),
                 {.logits = pass.outputs.logits, .targets = batch.targets});
}

}  // namespace kd
