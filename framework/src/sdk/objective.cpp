// What schemes are written with: passes, the teachers of a stage, and the losses of one network.
#include <ATen/ops/cat.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <utility>

#include "kd/diagnostics.h"
#include "kd/scheme.h"

namespace kd {
namespace {

const at::Tensor& find_view(const Batch& batch, const std::string& name) {
  for (const View& view : batch.extra_views) {
    if (view.name == name) return view.images;
  }
  throw Error(fmt::format("the batch has no extra view '{}'", name));
}

/// `change` of the logits and of every feature in `taps`.
template <class Change>
Outputs changed(const Outputs& outputs, const TapRequest& taps, const Change& change) {
  Outputs result{.logits = change(outputs.logits), .taps = Taps(taps), .network = outputs.network};
  for (const std::string& tap : taps) result.taps.offer(tap, change(outputs.taps.at(tap)));
  return result;
}

}  // namespace

Outputs rows_of(const Outputs& outputs, const TapRequest& taps, std::int64_t begin, std::int64_t count) {
  return changed(outputs, taps, [&](const at::Tensor& all) { return all.narrow(0, begin, count); });
}

Outputs detached(const Outputs& outputs, const TapRequest& taps) {
  return changed(outputs, taps, [](const at::Tensor& one) { return one.detach(); });
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
  pass.outputs = rows_of(all, needs.student_taps, 0, batch.size());
  return pass;
}

LossInput loss_input(const Pass& pass, const Batch& batch, std::span<const Outputs> teachers, const Updater& updater) {
  return {.student = pass.outputs,
          .teachers = teachers,
          .batch = batch,
          .time = updater.time(),
          .key = updater.key(),
          .views = pass.views};
}

Loss::Context StageContext::loss_context(const Network& student, std::vector<TeacherInfo> teachers) {
  return {.classes = data().classes(),
          .samples = samples(),
          .labels = labels(),
          .student = shapes(student),
          .teachers = std::move(teachers),
          .key = key().with("losses").with(student.name()),
          .group = &group(),
          .free_memory = free_memory(),
          .say = [this](const std::string& line) { say(line); }};
}

Loss::Context StageContext::loss_context(const Network& student) {
  return loss_context(student, teachers().empty() ? std::vector<TeacherInfo>{} : Teachers(*this).infos());
}

Teachers::Teachers(StageContext& context) {
  double sum = 0;
  for (Teacher* teacher : context.teachers()) {
    if (teacher->weight() == 0) continue;
    teachers_.push_back(teacher);
    infos_.push_back({.taps = context.shapes(*teacher), .share = teacher->weight()});
    sum += teacher->weight();
  }
  if (teachers_.empty()) throw RecipeError("every teacher of the stage has weight 0");
  for (TeacherInfo& info : infos_) info.share /= sum;
}

std::vector<Outputs> Teachers::outputs(const Batch& batch, const TapRequest& taps) const {
  std::vector<Outputs> answers;
  for (Teacher* teacher : teachers_) answers.push_back(teacher->outputs(batch, taps));
  return answers;
}

std::vector<Outputs> Teachers::forward(const at::Tensor& images, const TapRequest& taps) const {
  std::vector<Outputs> answers;
  for (Teacher* teacher : teachers_) answers.push_back(teacher->forward(images, taps));
  return answers;
}

Objective::Objective(const std::vector<ComponentSpec>& losses, StageContext& context, Network& network)
    : network_(network), losses_(losses, context.loss_context(network)), needs_(losses_.needs()) {
  context.require(needs_, network_);
  for (const NamedModule& adapter : losses_.adapters()) context.train_with(network_, adapter);
}

void Objective::step(const Batch& batch, std::span<const Outputs> teachers, Updater& updater) const {
  const Pass pass = kd::forward(network_, needs_, batch);
  updater.update(network_, losses_(loss_input(pass, batch, teachers, updater)),
                 {.logits = pass.outputs.logits, .targets = batch.targets});
}

}  // namespace kd
