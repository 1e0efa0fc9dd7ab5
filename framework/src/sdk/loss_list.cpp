// kd::LossList and kd::Objective: the weighted losses of a scheme.
#include <map>
#include <utility>

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

}  // namespace

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

void Objective::step(const Batch& batch, const Outputs* teacher, Updater& updater) const {
  const Outputs outputs = network_.forward(batch.images, needs_.student_taps);
  updater.update(network_, losses_({.student = outputs,
                                    .teacher = teacher,
                                    .targets = batch.targets,
                                    .index = batch.index,
                                    .time = updater.time()}));
}

}  // namespace kd
