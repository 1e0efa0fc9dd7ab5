// sweep_table.h: every problem is reported at its place, and what can be read is read.
#include "recipe/sweep_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace kd {
namespace {

std::string joined(const std::string& path, const std::string& key) { return path.empty() ? key : path + "." + key; }

/// Calls `visit(path, member)` for what a table of paths names. Keys may be whole paths in quotes, or tables in tables.
template <class Visit>
void visit_paths(const Value& table, const std::string& above, const Visit& visit) {
  for (const Member& member : table.as_table()) {
    const std::string path = joined(above, member.key);
    const bool goes_on = member.value.is_table() && member.key.find('.') == std::string::npos &&
                         member.value.find("values") == nullptr && member.value.find("type") == nullptr;
    if (goes_on) {
      visit_paths(member.value, path, visit);
    } else {
      visit(path, member);
    }
  }
}

class Reader {
 public:
  Reader(SweepTable& table, Diagnostics& diagnostics) : table_(table), diagnostics_(diagnostics) {}

  void read_grid(const Value& grid) {
    if (!require_table(grid, "grid")) return;
    visit_paths(grid, "", [&](const std::string& path, const Member& member) {
      const Value* values = &member.value;
      if (member.value.is_table()) values = values_of_table(path, member.value);
      if (values == nullptr || !require_values(*values, path)) return;
      Variation variation;
      for (const Value& value : values->as_list()) variation.push_back({{path, value, member.key_location}});
      add(std::move(variation));
    });
  }

  void read_zip(const Value& zip) {
    if (!require_table(zip, "zip")) return;
    Variation rows;
    std::string first;
    visit_paths(zip, "", [&](const std::string& path, const Member& member) {
      if (!require_values(member.value, path)) return;
      const Value::List& values = member.value.as_list();
      if (first.empty()) {
        first = path;
        rows.resize(values.size());
      }
      if (values.size() != rows.size()) {
        report(member.value.location, fmt::format("'{}' has {} values, and '{}' has {}: what is zipped is taken "
                                                  "together, place by place",
                                                  path, values.size(), first, rows.size()));
        return;
      }
      for (std::size_t i = 0; i < values.size(); ++i) rows[i].push_back({path, values[i], member.key_location});
    });
    if (!rows.empty()) add(std::move(rows));
  }

  void read_list(const Value& list) {
    if (!list.is_list() || list.as_list().empty()) {
      report(list.location, "'list' is a list of tables, each a combination of settings",
             "list = [{ \"stage.student.model.depth\" = 8, \"train.epochs\" = 3 }, … ]");
      return;
    }
    Variation choices;
    for (const Value& item : list.as_list()) {
      if (!item.is_table()) {
        report(item.location, "a combination of 'list' is a table, and this is " + item.kind_name());
        continue;
      }
      std::vector<Setting> choice;
      visit_paths(item, "", [&](const std::string& path, const Member& member) {
        choice.push_back({path, member.value, member.key_location});
      });
      choices.push_back(std::move(choice));
    }
    add(std::move(choices));
  }

  void read_seeds(const Value& seeds) {
    if (!require_values(seeds, "seeds")) return;
    for (const Value& seed : seeds.as_list()) {
      if (!seed.is_int() || seed.as_int() < 0) {
        report(seed.location, fmt::format("{} is no seed: an integer of at least 0 is wanted", seed.to_toml()));
      } else {
        table_.seeds.push_back(seed.as_int());
      }
    }
  }

  void report(const Location& location, const std::string& message, const std::string& hint = {}) {
    diagnostics_.error(location, "sweep: " + message, hint);
  }

 private:
  bool require_table(const Value& value, const std::string& key) {
    if (value.is_table()) return true;
    report(value.location,
           fmt::format("'{}' is a table from settings to lists of values, and this is {}", key, value.kind_name()),
           fmt::format("{} = {{ \"stage.student.scheme.losses.kd.temperature\" = [1, 4] }}", key));
    return false;
  }

  bool require_values(const Value& values, const std::string& path) {
    if (!values.is_list() || values.as_list().empty()) {
      report(values.location, fmt::format("'{}' wants a list of values, and this is {}", path,
                                          values.is_list() ? "an empty one" : values.kind_name()));
      return false;
    }
    const Value::List& all = values.as_list();
    for (auto one = all.begin(); one != all.end(); ++one) {
      if (std::find(all.begin(), one, *one) == one) continue;
      report(one->location, fmt::format("'{}' has the value {} twice", path, one->to_toml()));
      return false;
    }
    return true;
  }

  /// Of `{ values = [0.1, 0.9], complement = true }`.
  const Value* values_of_table(const std::string& path, const Value& table) {
    for (const Member& member : table.as_table()) {
      if (member.key == "values" || member.key == "complement") continue;
      report(member.key_location, fmt::format("'{}' has no key '{}'", path, member.key),
             name_hint(member.key, {"values", "complement"}));
    }
    if (const Value* complement = table.find("complement")) {
      if (!complement->is_bool()) {
        report(complement->location, "'complement' is true or false, and this is " + complement->kind_name());
      } else if (complement->as_bool()) {
        table_.complemented.insert(path);
      }
    }
    const Value* values = table.find("values");
    if (values == nullptr) report(table.location, fmt::format("'{}' has no 'values'", path));
    return values;
  }

  void add(Variation variation) {
    if (variation.empty()) return;  // what was wrong is reported
    for (const Setting& setting : variation.front()) {
      for (const char* table : {"sweep", "profile", "extends"}) {
        if (setting.path != table && !setting.path.starts_with(std::string(table) + ".")) continue;
        report(setting.location, fmt::format("'{}' is no setting of a run", setting.path));
        return;
      }
      if (setting.path == "seed") {
        report(setting.location, "'seed' is varied by 'seeds'", "seeds = [0, 1, 2]");
        return;
      }
      for (const Variation& other : table_.variations) {
        const bool known = std::any_of(other.front().begin(), other.front().end(),
                                       [&](const Setting& known_one) { return known_one.path == setting.path; });
        if (known)
          report(setting.location, fmt::format("'{}' is varied twice", setting.path),
                 "the recipe's [sweep] and the command line add to each other: leave it out of one of them");
      }
    }
    table_.variations.push_back(std::move(variation));
  }

  SweepTable& table_;
  Diagnostics& diagnostics_;
};

/// "path=[…]" of the command line as the table { "path" = […] }.
Value table_of_option(const std::string& text, Diagnostics& diagnostics) {
  const Setting setting = parse_override(text, diagnostics);
  Value table = Value(Value::Table{});
  if (!setting.path.empty()) table.set(setting.path, setting.value, setting.location);
  return table;
}

}  // namespace

SweepTable read_sweep_table(const Value& recipe, Diagnostics& diagnostics) {
  SweepTable table;
  const Value* sweep = recipe.find("sweep");
  if (sweep == nullptr) return table;
  Reader reader(table, diagnostics);
  if (!sweep->is_table()) {
    reader.report(sweep->location, "this is a table, and not " + sweep->kind_name(), "write [sweep]");
    return table;
  }
  for (const Member& member : sweep->as_table()) {
    if (member.key == "grid") {
      reader.read_grid(member.value);
    } else if (member.key == "zip") {
      reader.read_zip(member.value);
    } else if (member.key == "list") {
      reader.read_list(member.value);
    } else if (member.key == "seeds") {
      reader.read_seeds(member.value);
    } else {
      reader.report(member.key_location, fmt::format("unknown key '{}'", member.key),
                    name_hint(member.key, {"grid", "zip", "list", "seeds"}, "keys"));
    }
  }
  return table;
}

void add_command_line(const SweepOptions& options, SweepTable& table, Diagnostics& diagnostics) {
  Reader reader(table, diagnostics);
  for (const std::string& text : options.grid) reader.read_grid(table_of_option(text, diagnostics));
  Value zip = Value(Value::Table{});
  for (const std::string& text : options.zip) {
    const Value one = table_of_option(text, diagnostics);
    for (const Member& member : one.as_table()) zip.set(member.key, member.value, member.key_location);
  }
  if (!zip.as_table().empty()) reader.read_zip(zip);
  if (options.list.empty()) return;
  Value list = Value(Value::List{});
  for (const std::string& text : options.list) {
    try {
      list.as_list().push_back(Value::parse(text));
    } catch (const RecipeError& error) {
      for (Problem problem : error.problems()) {
        problem.location.source = std::make_shared<const std::string>(fmt::format("override '{}'", text));
        diagnostics.error(problem.location, problem.message, problem.hint);
      }
    }
  }
  if (!list.as_list().empty()) reader.read_list(list);
}

namespace {

/// The list that holds what `path` means, and what `path` is without its last two steps; null where it is no list.
const Value* list_around(const Value& recipe, const std::string& path) {
  const Value* found = &recipe;
  std::size_t begin = 0;
  for (std::size_t end = path.find('.'); end != std::string::npos; begin = end + 1, end = path.find('.', begin)) {
    const std::string step = path.substr(begin, end - begin);
    if (path.find('.', end + 1) == std::string::npos) return found->is_list() ? found : nullptr;
    if (found->is_table()) {
      found = found->find(step);
    } else if (found->is_list()) {
      const Value::List& items = found->as_list();
      const auto item = std::find_if(items.begin(), items.end(), [&](const Value& one) {
        const Value* name = one.find("name");
        return name != nullptr && name->is_string() && name->as_string() == step;
      });
      found = item == items.end() ? nullptr : &*item;
    }
    if (found == nullptr) return nullptr;
  }
  return nullptr;
}

}  // namespace

std::vector<Setting> complements(const Value& recipe, const std::vector<Setting>& settings,
                                 const std::set<std::string>& complemented, Diagnostics& diagnostics) {
  std::vector<Setting> rest;
  for (const Setting& setting : settings) {
    if (!complemented.contains(setting.path)) continue;
    const auto refuse = [&](const Location& location, const std::string& message) {
      diagnostics.error(location, fmt::format("sweep: 'complement' of '{}': {}", setting.path, message),
                        "the weight of one of two losses that the recipe lists, as in "
                        "stage.student.scheme.losses.kd.weight");
    };
    const Value* list = setting.path.ends_with(".weight") ? list_around(recipe, setting.path) : nullptr;
    if (list == nullptr || list->as_list().size() != 2) {
      refuse(setting.location, list == nullptr ? "there is no list of losses around it"
                                               : fmt::format("it is one of {} losses", list->as_list().size()));
      continue;
    }
    if (!setting.value.is_number() || setting.value.as_number() < 0 || setting.value.as_number() > 1) {
      refuse(setting.value.location, fmt::format("{} is not in [0, 1]", setting.value.to_toml()));
      continue;
    }
    const std::string losses = setting.path.substr(0, setting.path.rfind('.', setting.path.rfind('.') - 1));
    const std::string step = setting.path.substr(losses.size() + 1, setting.path.rfind('.') - losses.size() - 1);
    Value copy = *list;
    Diagnostics known;
    const Value* item = find_item(copy, step, setting.location, known);
    if (item == nullptr) continue;  // reported where the weight itself was laid on
    const bool is_first = item == &copy.as_list().front();
    // Rounded, so that 1 − 0.9 is the 0.1 of a recipe.
    const double weight = std::round((1 - setting.value.as_number()) * 1e12) / 1e12;
    Value value(weight);
    value.location = setting.value.location;
    rest.push_back({fmt::format("{}.{}.weight", losses, is_first ? 1 : 0), value, setting.location});
  }
  return rest;
}

}  // namespace kd
