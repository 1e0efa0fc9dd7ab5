// plan.h: from the merged tree to a checked plan.
#include "recipe/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "recipe/merge.h"
#include "recipe/planner.h"
#include "recipe/settings.h"
#include "recipe/sweep_table.h"
#include "recipe/toml_reader.h"
#include "recipe/unknown_keys.h"

namespace kd {

namespace {

std::vector<std::string> names_of(const std::vector<FieldInfo>& fields) {
  std::vector<std::string> names;
  for (const FieldInfo& field : fields) names.push_back(field.name);
  return names;
}

/// The members of `table` whose keys are declared in `fields`.
Value select(const Value& table, const std::vector<FieldInfo>& fields) {
  Value result = Value(Value::Table{});
  result.location = table.location;
  for (const FieldInfo& field : fields) {
    if (const Value* value = table.find(field.name)) {
      const auto member = std::find_if(table.as_table().begin(), table.as_table().end(),
                                       [&](const Member& candidate) { return candidate.key == field.name; });
      result.set(field.name, *value, member->key_location);
    }
  }
  return result;
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
                              std::string::npos;
}

/// Makes the plan of one recipe; every check reports and goes on, so that all problems come out at once.
class Planner {
 public:
  Planner(const ComponentCatalog& catalog, Diagnostics& diagnostics) : catalog_(catalog), diagnostics_(diagnostics) {}

  ExperimentPlan plan(const Value& recipe) {
    const std::vector<FieldInfo> own = fields_of<RecipeKeys>();
    std::vector<std::string> known = names_of(own);
    known.insert(known.end(), {"extends", "train", "stage", "profile", "sweep"});
    report_unknown_keys(recipe, "recipe", own, known, diagnostics_);
    Diagnostics found;
    const Value top = resolve_table(own, select(recipe, own), "recipe", catalog_, found);
    report_once(found);
    check_train_table(recipe);

    ExperimentPlan result;
    result.resolved = top;
    result.resolved.erase("data");
    result.resolved.erase("analysis");
    Value stages = Value(Value::List{});
    const Value* given = recipe.find("stage");
    if (given == nullptr || !given->is_list() || given->as_list().empty()) {
      diagnostics_.error(given == nullptr ? recipe.location : given->location, "a recipe needs at least one [[stage]]");
    } else {
      for (const Value& stage : given->as_list()) {
        if (!stage.is_table()) {
          diagnostics_.error(stage.location, "a stage is a table, and this is " + stage.kind_name(), "write [[stage]]");
          continue;
        }
        StagePlan plan = plan_stage(recipe, stage, result.stages);
        stages.as_list().push_back(plan.resolved);
        result.stages.push_back(std::move(plan));
      }
    }
    if (const Value* data = top.find("data")) result.resolved.set("data", *data);
    result.resolved.set("stage", std::move(stages));
    result.resolved.set("analysis", *top.find("analysis"));
    if (!diagnostics_.ok()) return result;
    const RecipeKeys keys = read_parameters<RecipeKeys>(top);
    result.title = keys.title;
    result.seed = keys.seed;
    result.device = keys.device;
    result.analyses = keys.analyses;
    check_device(keys.device, *top.find("device"));
    return result;
  }

 private:
  void check_device(const std::string& device, const Value& value) {
    if (is_device_name(device)) return;
    diagnostics_.error(value.location, fmt::format("'{}' is no device", device), "auto, cpu, cuda or cuda:N");
  }

  /// Keys only: values are checked in the stages that use them.
  void check_train_table(const Value& recipe) {
    const Value* train = recipe.find("train");
    if (train == nullptr) return;
    const std::vector<FieldInfo> train_fields = fields_of<TrainSettings>();
    if (!train->is_table()) {
      diagnostics_.error(train->location, "'train' is a table, and this is " + train->kind_name());
      return;
    }
    report_unknown_keys(*train, "train", train_fields, names_of(train_fields), diagnostics_);
  }

  StagePlan plan_stage(const Value& recipe, const Value& stage, const std::vector<StagePlan>& earlier) {
    static const std::vector<FieldInfo> own = fields_of<StageKeys>();
    static const std::vector<FieldInfo> train_fields = fields_of<TrainSettings>();
    StagePlan plan;
    plan.location = stage.location;
    const Value* name = stage.find("name");
    if (name != nullptr && name->is_string()) plan.name = name->as_string();
    const std::string what = "stage '" + plan.name + "'";
    check_name(plan, stage, earlier);

    std::vector<std::string> known = names_of(own);
    known.insert(known.end(), {"teachers", "data"});
    for (const FieldInfo& field : train_fields) known.push_back(field.name);
    report_unknown_keys(stage, what, train_fields, known, diagnostics_);

    // What is wrong in one part says nothing of the others: each is looked at as far as it can be. Problems of [train]
    // come up in every stage that inherits them; each is reported once.
    Diagnostics of_keys, of_train, of_data, of_teachers;
    const Value keys = resolve_table(own, select(stage, own), what, catalog_, of_keys);
    Value train = recipe.find("train") != nullptr && recipe.find("train")->is_table()
                      ? select(*recipe.find("train"), train_fields)
                      : Value(Value::Table{});
    train.location = stage.location;
    merge(train, select(stage, train_fields), of_train);
    const Value settings = resolve_table(train_fields, train, what, catalog_, of_train);
    const Value data = resolve_data(recipe, stage, of_data);
    const Value teachers = resolve_teachers(stage, what, of_teachers);
    for (const Diagnostics* found : {&of_keys, &of_train, &of_data, &of_teachers}) report_once(*found);

    plan.resolved = keys;
    plan.resolved.set("data", data);
    plan.resolved.set("teachers", teachers);
    for (const Member& member : settings.as_table()) plan.resolved.set(member.key, member.value, member.key_location);
    if (of_teachers.ok()) {
      for (const Value& teacher : teachers.as_list()) plan_teacher(plan, teacher, earlier);
    }
    if (of_train.ok()) plan.train = read_parameters<TrainSettings>(settings);
    if (of_data.ok() && !data.is_null()) plan.data = to_component("dataset", fields_of<DataSelection>(), data);
    if (!of_keys.ok()) return plan;
    const StageKeys parsed = read_parameters<StageKeys>(keys);
    plan.scheme = parsed.scheme;
    plan_networks(plan, parsed, earlier);
    if (of_teachers.ok()) check_roles(plan, stage);
    return plan;
  }

  void check_name(const StagePlan& plan, const Value& stage, const std::vector<StagePlan>& earlier) {
    const Value* name = stage.find("name");
    if (name == nullptr || !name->is_string()) return;
    if (!is_plain_name(plan.name)) {
      diagnostics_.error(name->location, fmt::format("'{}' is no name for a stage", plan.name),
                         "letters, digits, '_' and '-'");
    }
    for (const StagePlan& other : earlier) {
      if (other.name == plan.name) {
        diagnostics_.error(name->location,
                           fmt::format("there is a stage '{}' already, at {}", plan.name, other.location.to_string()));
      }
    }
  }

  Value resolve_data(const Value& recipe, const Value& stage, Diagnostics& found) {
    Value data = recipe.find("data") != nullptr ? *recipe.find("data") : Value();
    if (const Value* own = stage.find("data")) {
      if (data.is_null()) {
        data = *own;
      } else {
        merge(data, *own, found);
      }
    }
    // A recipe without data is reported at its top level.
    return data.is_null() ? data : resolve_component("dataset", fields_of<DataSelection>(), data, catalog_, found);
  }

  Value resolve_teachers(const Value& stage, const std::string& what, Diagnostics& found) {
    Value result = Value(Value::List{});
    const Value* teachers = stage.find("teachers");
    if (teachers == nullptr) return result;
    if (!teachers->is_list()) {
      found.error(teachers->location,
                  what + ": 'teachers' wants a list of tables, and this is " + teachers->kind_name());
      return result;
    }
    static const std::vector<FieldInfo> fields = fields_of<TeacherPlan>();
    for (const Value& teacher : teachers->as_list()) {
      if (teacher.is_string()) {
        found.error(teacher.location, what + ": a teacher is a table, and this is a string",
                    fmt::format("write teachers = [{{ stage = {} }}], or {{ file = {}, model = {{ … }} }}",
                                teacher.to_toml(), teacher.to_toml()));
        continue;
      }
      result.as_list().push_back(resolve_table(fields, teacher, what + ", teacher", catalog_, found));
    }
    return result;
  }

  void plan_networks(StagePlan& plan, const StageKeys& keys, const std::vector<StagePlan>& earlier) {
    if (keys.model) plan.networks.push_back({keys, "model", keys.model, {}, {}});
    std::map<std::string, int> seen;
    for (const ComponentSpec& model : keys.models) {
      const auto extras = read_parameters<NetworkExtras>(model.extras);
      const std::string base = extras.name.empty() ? model.type : extras.name;
      // Names become file names of a checkpoint, in which `training` is taken.
      if (!is_plain_name(base) || base == "training") {
        diagnostics_.error(model.extras.find("name")->location, fmt::format("'{}' is no name for a network", base),
                           "letters, digits, '_' and '-'; 'training' is taken");
      }
      for (std::int64_t i = 0; i < extras.count; ++i) {
        const int count = ++seen[base];
        NetworkPlan network{extras, count == 1 ? base : fmt::format("{}_{}", base, count), model, extras.optimizer,
                            extras.schedule};
        const auto same = std::find_if(plan.networks.begin(), plan.networks.end(),
                                       [&](const NetworkPlan& other) { return other.name == network.name; });
        if (same != plan.networks.end()) {
          diagnostics_.error(model.location,
                             fmt::format("stage '{}': two networks are called '{}'", plan.name, network.name),
                             "the second of several is called NAME_2, and so on; give another 'name'");
          break;
        }
        plan.networks.push_back(std::move(network));
      }
    }
    if (keys.model && !keys.models.empty()) {
      diagnostics_.error(keys.models.front().location,
                         fmt::format("stage '{}': 'model' and 'models' exclude each other", plan.name));
    }
    plan_inits(plan, keys, earlier);
    for (const NetworkPlan& network : plan.networks) {
      if (plan.train.epochs > 0 || network.init) continue;
      diagnostics_.error(plan.location,
                         fmt::format("stage '{}': epochs = 0 takes network '{}' as it is, and it has no 'init'",
                                     plan.name, network.name),
                         "init = { file = \"x.pth\" } or another stage's");
      break;
    }
  }

  void plan_inits(StagePlan& plan, const StageKeys& keys, const std::vector<StagePlan>& earlier) {
    const std::string what = fmt::format("stage '{}', init", plan.name);
    if (!keys.model && (keys.init || !keys.freeze.empty() || !keys.rates.empty())) {
      const char* key = keys.init ? "init" : !keys.freeze.empty() ? "freeze" : "rates";
      diagnostics_.error(
          plan.resolved.find(key)->location,
          fmt::format("stage '{}': '{}' of a stage belongs to its 'model', and there is none", plan.name, key),
          "write it beside each network in 'models'");
    }
    for (NetworkPlan& network : plan.networks) {
      if (!network.init) continue;
      const Value* value = keys.model ? plan.resolved.find("init") : network.model.extras.find("init");
      network.init->location = value->location;
      check_source(*network.init, *value, what, earlier);
    }
  }

  /// Where weights come from: one place, and there is such a stage.
  void check_source(const NetworkSource& source, const Value& value, const std::string& what,
                    const std::vector<StagePlan>& earlier) {
    if (source.file.empty() == source.stage.empty()) {
      diagnostics_.error(value.location, what + ": give either 'stage' or 'file'");
    } else if (!source.run.empty() && source.stage.empty()) {
      diagnostics_.error(value.location, what + ": 'run' needs 'stage'");
    }
    const Value& checkpoint = *value.find("checkpoint");
    if (source.checkpoint != "last" && source.checkpoint != "best") {
      diagnostics_.error(checkpoint.location,
                         fmt::format("{}: 'checkpoint' = {} is not one of: last | best", what, checkpoint.to_toml()));
    }
    if (!source.stage.empty() && source.run.empty()) check_stage(source, *value.find("stage"), what, earlier);
  }

  void plan_teacher(StagePlan& plan, const Value& value, const std::vector<StagePlan>& earlier) {
    TeacherPlan teacher = read_parameters<TeacherPlan>(value);
    teacher.location = value.location;
    const std::string what = fmt::format("stage '{}', teacher", plan.name);
    check_source(teacher, value, what, earlier);
    if (!teacher.file.empty() && teacher.stage.empty() && !teacher.model)
      diagnostics_.error(value.location, what + ": 'file' needs 'model', the network whose weights it holds");
    plan.teachers.push_back(std::move(teacher));
  }

  void check_stage(const NetworkSource& source, const Value& place, const std::string& what,
                   const std::vector<StagePlan>& earlier) {
    std::vector<std::string> names;
    for (const StagePlan& other : earlier) {
      if (other.name == source.stage) {
        check_network(source, other, place, what);
        return;
      }
      names.push_back(other.name);
    }
    diagnostics_.error(place.location, fmt::format("{}: there is no earlier stage '{}'", what, source.stage),
                       name_hint(source.stage, names, "earlier stages"));
  }

  void check_network(const NetworkSource& source, const StagePlan& other, const Value& place, const std::string& what) {
    std::vector<std::string> names;
    for (const NetworkPlan& network : other.networks) names.push_back(network.name);
    if (names.empty()) return;  // the other stage has problems of its own
    const bool named = std::find(names.begin(), names.end(), source.network) != names.end();
    if (named || (source.network.empty() && names.size() == 1)) return;
    diagnostics_.error(
        place.location,
        source.network.empty()
            ? fmt::format("{}: stage '{}' has several networks; say which with 'network'", what, other.name)
            : fmt::format("{}: stage '{}' has no network '{}'", what, other.name, source.network),
        name_hint(source.network, names, "its networks"));
  }

  void check_roles(const StagePlan& plan, const Value& stage) {
    const Roles roles = catalog_.roles("scheme", plan.scheme.type);
    const auto check = [&](std::size_t count, std::int64_t fewest, std::int64_t most, const std::string& noun,
                           const std::string& key) {
      const auto have = static_cast<std::int64_t>(count);
      if (have >= fewest && have <= most) return;
      const std::string want = fewest == most ? fmt::format("{}", fewest)
                               : most > 1000  ? fmt::format("at least {}", fewest)
                                              : fmt::format("{} to {}", fewest, most);
      diagnostics_.error(stage.location,
                         fmt::format("stage '{}': scheme '{}' wants {} {}, and there {} {}", plan.name,
                                     plan.scheme.type, want, noun, have == 1 ? "is" : "are", have),
                         fmt::format("see '{}'", key));
    };
    check(plan.networks.size(), roles.fewest_networks, roles.most_networks, "network(s) to train",
          roles.most_networks > 1 ? "models" : "model");
    check(plan.teachers.size(), roles.fewest_teachers, roles.most_teachers, "teacher(s)", "teachers");
  }

  void report_once(const Diagnostics& found) {
    for (const Problem& problem : found.problems()) {
      if (reported_.insert(problem.location.to_string() + problem.message.substr(problem.message.find(':') + 1))
              .second) {
        diagnostics_.error(problem.location, problem.message, problem.hint);
      }
    }
  }

  const ComponentCatalog& catalog_;
  Diagnostics& diagnostics_;
  std::set<std::string> reported_;
};

void apply_profile(Value& recipe, const std::string& name, const std::string& file, Diagnostics& diagnostics) {
  const Value* profiles = recipe.find("profile");
  const Value* profile = profiles == nullptr ? nullptr : profiles->find(name);
  if (profile == nullptr) {
    std::vector<std::string> names;
    if (profiles != nullptr && profiles->is_table()) {
      for (const Member& member : profiles->as_table()) names.push_back(member.key);
    }
    diagnostics.error({std::make_shared<const std::string>(file), 0, 0}, fmt::format("there is no profile '{}'", name),
                      name_hint(name, names, "profiles"));
    return;
  }
  const Value copy = *profile;
  merge(recipe, copy, diagnostics);
}

/// The names in "small,at".
std::vector<std::string> profile_names(const std::string& list) {
  std::vector<std::string> names;
  std::istringstream stream(list);
  for (std::string name; std::getline(stream, name, ',');) names.push_back(name);
  return names;
}

}  // namespace

Value read_laid(const std::string& file, const RecipeOptions& options, Diagnostics& diagnostics) {
  Value recipe = read_with_bases(file);
  for (const std::string& name : profile_names(options.profile)) apply_profile(recipe, name, file, diagnostics);
  for (const std::string& text : options.overrides) apply_override(recipe, text, diagnostics);
  return recipe;
}

ExperimentPlan plan_recipe(const Value& recipe, const ComponentCatalog& catalog, Diagnostics& diagnostics) {
  return Planner(catalog, diagnostics).plan(recipe);
}

void check_other_profiles(const std::string& file, const RecipeOptions& options, const ComponentCatalog& catalog,
                          Diagnostics& diagnostics) {
  const Value recipe = read_with_bases(file);
  const std::vector<std::string> chosen = profile_names(options.profile);
  const Value* profiles = recipe.find("profile");
  if (profiles == nullptr || !profiles->is_table()) return;
  const auto is_same = [](const Problem& a, const Problem& b) {
    return a.location.to_string() == b.location.to_string() && a.message == b.message;
  };
  Diagnostics plain;
  Planner(catalog, plain).plan(recipe);
  for (const Member& profile : profiles->as_table()) {
    if (std::find(chosen.begin(), chosen.end(), profile.key) != chosen.end()) continue;
    Value laid = recipe;
    Diagnostics found;
    apply_profile(laid, profile.key, file, found);
    Planner(catalog, found).plan(laid);
    read_sweep_table(laid, found);
    for (const Problem& problem : found.problems()) {
      const auto known = [&](const Problem& other) { return is_same(problem, other); };
      if (std::any_of(plain.problems().begin(), plain.problems().end(), known) ||
          std::any_of(diagnostics.problems().begin(), diagnostics.problems().end(), known))
        continue;
      diagnostics.error(problem.location, fmt::format("profile '{}': {}", profile.key, problem.message), problem.hint);
    }
  }
}

void name_plan(ExperimentPlan& plan, const std::string& file) {
  plan.recipe_file = file;
  plan.recipe_name = std::filesystem::path(file).stem().string();
}

ExperimentPlan read_recipe(const std::string& file, const RecipeOptions& options, const ComponentCatalog& catalog) {
  Diagnostics diagnostics;
  const Value recipe = read_laid(file, options, diagnostics);
  ExperimentPlan plan = plan_recipe(recipe, catalog, diagnostics);
  read_sweep_table(recipe, diagnostics);
  check_other_profiles(file, options, catalog, diagnostics);
  diagnostics.throw_if_any();
  name_plan(plan, file);
  return plan;
}

StageSettings read_stage_settings(const std::string& file, const ComponentCatalog& catalog) {
  const Value stage = read_toml_file(file);
  const auto extras = fields_of<DataSelection>();
  const auto train_fields = fields_of<TrainSettings>();
  Diagnostics diagnostics;
  const Value* data = stage.find("data");
  const Value resolved_data =
      resolve_component("dataset", extras, data != nullptr ? *data : Value(), catalog, diagnostics);
  const Value train = resolve_table(train_fields, select(stage, train_fields), "stage", catalog, diagnostics);
  diagnostics.throw_if_any();
  return {to_component("dataset", extras, resolved_data), read_parameters<TrainSettings>(train)};
}

bool is_device_name(const std::string& name) {
  if (name == "auto" || name == "cpu" || name == "cuda") return true;
  return name.starts_with("cuda:") && name.size() > 5 && name.size() < 8 &&
         name.find_first_not_of("0123456789", 5) == std::string::npos;
}

}  // namespace kd
