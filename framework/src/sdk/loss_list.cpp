// kd::LossList: the weighted losses of a scheme.
#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "kd/diagnostics.h"
#include "kd/loss.h"
#include "sdk/adapter_count.h"
#include "sdk/seeded_initialisation.h"

namespace kd {

/// A loss of the list; one that compares with each teacher has an object for each.
struct LossList::Item {
  std::string name;
  std::vector<std::unique_ptr<Loss>> objects;
  std::vector<double> shares;  // of the objects
  ScheduledValue weight;
  LossNeeds needs;

  Term term(double factor, const LossInput& input) const;
};

namespace {

struct Extras {
  Scheduled weight;

  static void schema(Schema<Extras>& s) {
    s.field("weight", &Extras::weight, "factor of this loss in the sum: a number, or a schedule").def(1.0);
  }
};

std::unique_ptr<Loss> make_loss(const ComponentSpec& spec, Loss::Context context, RandomKey key) {
  context.key = key;
  const SeededInitialisation first_weights(key.with("initialisation"));
  const std::int64_t before = filled_adapters();
  auto loss = make<Loss>(spec, context);
  if (filled_adapters() > before && loss->module() == nullptr) {
    throw RecipeError(spec.location,
                      fmt::format("loss '{}' makes an adapter that nothing would train or keep", spec.type),
                      "its module() must return adapter.module()");
  }
  return loss;
}

/// The value of a loss; what is thrown in it names it.
at::Tensor value_of(Loss& loss, const std::string& name, const LossInput& input) {
  try {
    return loss(input);
  } catch (const RecipeError&) {
    throw;  // it says where
  } catch (const Error& error) {
    throw Error(fmt::format("loss '{}': {}", name, error.what()), error.code());
  } catch (const c10::OutOfMemoryError&) {
    throw;  // nothing of the loss is at fault
  } catch (const std::exception& error) {
    throw Error(fmt::format("loss '{}': {}", name, message_of(error)));
  }
}

/// Whoever wants a teacher's features wants a teacher.
LossNeeds needs_of(const Loss& loss) {
  LossNeeds needs = loss.needs();
  needs.teacher |= !needs.teacher_taps.empty();
  return needs;
}

std::vector<std::unique_ptr<Loss>> make_objects(const ComponentSpec& spec, const Loss::Context& context,
                                                RandomKey key) {
  std::vector<std::unique_ptr<Loss>> objects;
  if (context.teachers.size() <= 1) {
    objects.push_back(make_loss(spec, context, key));
    return objects;
  }
  for (std::size_t i = 0; i < context.teachers.size(); ++i) {
    Loss::Context of_one = context;
    of_one.teachers = {context.teachers[i]};
    objects.push_back(make_loss(spec, of_one, i == 0 ? key : key.with(i)));
    const LossNeeds needs = needs_of(*objects.back());
    if (needs.teachers_together) objects.back() = make_loss(spec, context, key);
    if (needs.teachers_together || !needs.teacher) break;
  }
  return objects;
}

}  // namespace

const Outputs& LossInput::teacher() const {
  if (teachers.size() != 1) throw Error(fmt::format("a loss wants one teacher's outputs, and has {}", teachers.size()));
  return teachers.front();
}

const at::Tensor& LossInput::view(const std::string& name) const {
  for (const ViewLogits& known : views) {
    if (known.view == name) return known.logits;
  }
  throw Error(fmt::format("no logits of an extra view '{}'", name));
}

const TeacherInfo& Loss::Context::teacher() const {
  if (teachers.empty())
    throw RecipeError({}, "this loss needs a teacher, and there is none",
                      "give the stage 'teachers', or take a scheme "
                      "with teachers");
  return teachers.front();
}

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

void add_share(std::vector<Term>& sum, const std::vector<Term>& terms, double share) {
  for (const Term& term : terms) {
    const at::Tensor part = share == 1 ? term.value : term.value * share;
    const auto known = std::find_if(sum.begin(), sum.end(), [&](const Term& one) { return one.name == term.name; });
    if (known == sum.end()) {
      sum.push_back({term.name, part, term.weight, term.labelled_rows_only, term.from_teachers});
    } else {
      known->value = known->value + part;
    }
  }
}

std::vector<FieldInfo> LossList::extras() { return fields_of<Extras>(); }

LossList::LossList(const std::vector<ComponentSpec>& specs, const Loss::Context& context) {
  std::map<std::string, int> seen;
  for (const ComponentSpec& spec : specs) {
    const int count = ++seen[spec.type];
    const std::string name = count == 1 ? spec.type : fmt::format("{}_{}", spec.type, count);
    Item item{name,
              make_objects(spec, context, context.key.with(name)),
              {1.0},
              ScheduledValue(read_parameters<Extras>(spec.extras).weight),
              {}};
    for (const auto& object : item.objects) item.needs = merged(item.needs, needs_of(*object));
    const bool each = item.needs.teacher && !item.objects.front()->needs().teachers_together;
    if (each && !context.teachers.empty()) {
      item.shares.clear();
      for (const TeacherInfo& teacher : context.teachers) item.shares.push_back(teacher.share);
    }
    items_.push_back(std::move(item));
  }
}

LossList::LossList(LossList&&) noexcept = default;
LossList::~LossList() = default;

Term LossList::Item::term(double factor, const LossInput& input) const {
  const bool labelled_rows_only = objects.front()->labelled_rows_only();
  if (!needs.teacher || objects.front()->needs().teachers_together) {
    LossInput of_all = input;
    if (!needs.teacher) of_all.teachers = {};
    return {name, value_of(*objects.front(), name, of_all), factor, labelled_rows_only, needs.teacher};
  }
  if (input.teachers.size() != objects.size()) {
    throw Error(fmt::format("loss '{}' was made for {} teacher(s), and there are outputs of {}", name, objects.size(),
                            input.teachers.size()));
  }
  std::vector<Term> sum;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    LossInput of_one = input;
    of_one.teachers = input.teachers.subspan(i, 1);
    add_share(sum, {{name, value_of(*objects[i], name, of_one), factor, labelled_rows_only, true}}, shares[i]);
  }
  return sum.front();
}

std::vector<Term> LossList::operator()(const LossInput& input) const {
  std::vector<Term> terms;
  for (const Item& item : items_) {
    if (item.needs.teacher && input.teachers.empty()) continue;
    const double weight = item.weight.at(input.time);
    if (weight != 0) terms.push_back(item.term(weight, input));
  }
  return terms;
}

std::vector<Term> LossList::from_teachers(const LossInput& input) const {
  std::vector<Term> terms;
  for (const Item& item : items_) {
    const double weight = item.weight.at(input.time);
    if (item.needs.teacher && weight != 0) terms.push_back(item.term(weight, input));
  }
  return terms;
}

LossNeeds LossList::needs() const {
  LossNeeds all;
  for (const Item& item : items_) all = merged(std::move(all), item.needs);
  return all;
}

bool LossList::recordable() const {
  return std::all_of(items_.begin(), items_.end(), [](const Item& item) {
    return item.weight.constant() && std::all_of(item.objects.begin(), item.objects.end(),
                                                 [](const auto& object) { return object->recordable(); });
  });
}

bool LossList::any_without_teachers() const {
  return std::any_of(items_.begin(), items_.end(), [](const Item& item) { return !item.needs.teacher; });
}

std::vector<NamedModule> LossList::adapters() const {
  std::vector<NamedModule> adapters;
  for (const Item& item : items_) {
    for (std::size_t i = 0; i < item.objects.size(); ++i) {
      const std::string name = i == 0 ? item.name : fmt::format("{}_teacher_{}", item.name, i + 1);
      if (auto module = item.objects[i]->module()) adapters.push_back({name, std::move(module)});
    }
  }
  return adapters;
}

}  // namespace kd
