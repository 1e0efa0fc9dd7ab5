// kd/schema.h: checks a table against its declaration and fills in the defaults.
#include "kd/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "recipe/merge.h"
#include "recipe/published_names.h"
#include "recipe/unknown_keys.h"

namespace kd {

ComponentCatalog::~ComponentCatalog() = default;

std::string type_name(FieldType type) {
  switch (type) {
    case FieldType::kBool:
      return "boolean";
    case FieldType::kInt:
      return "integer";
    case FieldType::kNumber:
      return "number";
    case FieldType::kString:
      return "string";
    case FieldType::kChoice:
      return "choice";
    case FieldType::kIntList:
      return "list of integers";
    case FieldType::kNumberList:
      return "list of numbers";
    case FieldType::kStringList:
      return "list of strings";
    case FieldType::kComponent:
      return "component";
    case FieldType::kComponentList:
      return "list of components";
    case FieldType::kScheduled:
      return "number or schedule";
    case FieldType::kTable:
      return "table";
    case FieldType::kNumberTable:
      return "table of numbers";
  }
  return "";
}

std::string FieldInfo::range_text() const {
  if (!choices.empty()) return "one of: " + fmt::format("{}", fmt::join(choices, " | "));
  if (low && high) {
    return fmt::format("in {}{}, {}{}", low->inclusive ? '[' : '(', low->value, high->value,
                       high->inclusive ? ']' : ')');
  }
  if (low) return fmt::format("{} {}", low->inclusive ? "≥" : ">", low->value);
  if (high) return fmt::format("{} {}", high->inclusive ? "≤" : "<", high->value);
  return "";
}

FieldBuilder& FieldBuilder::def(Value value) {
  info_.default_value = std::move(value);
  info_.required = false;
  return *this;
}

namespace {

template <class T>
Value list_value(std::vector<T> list) {
  Value::List items;
  for (T& item : list) items.emplace_back(std::move(item));
  return Value(std::move(items));
}

}  // namespace

FieldBuilder& FieldBuilder::def(std::vector<std::int64_t> list) { return def(list_value(std::move(list))); }
FieldBuilder& FieldBuilder::def(std::vector<double> list) { return def(list_value(std::move(list))); }
FieldBuilder& FieldBuilder::def(std::vector<std::string> list) { return def(list_value(std::move(list))); }
FieldBuilder& FieldBuilder::def_toml(std::string_view text) { return def(Value::parse(text)); }

FieldBuilder& FieldBuilder::optional() {
  info_.required = false;
  return *this;
}
FieldBuilder& FieldBuilder::range(double low, double high) { return at_least(low).at_most(high); }
FieldBuilder& FieldBuilder::at_least(double low) {
  info_.low = {low, true};
  return *this;
}
FieldBuilder& FieldBuilder::above(double low) {
  info_.low = {low, false};
  return *this;
}
FieldBuilder& FieldBuilder::at_most(double high) {
  info_.high = {high, true};
  return *this;
}
FieldBuilder& FieldBuilder::below(double high) {
  info_.high = {high, false};
  return *this;
}
FieldBuilder& FieldBuilder::with(std::vector<FieldInfo> extras) {
  info_.extras = std::move(extras);
  return *this;
}

namespace {

/// "a number", "an integer".
std::string with_article(const std::string& noun) {
  return (std::string_view("aeiou").find(noun.front()) == std::string_view::npos ? "a " : "an ") + noun;
}

/// Checks one value of one parameter.
class FieldChecker {
 public:
  FieldChecker(const std::string& what, const ComponentCatalog& catalog, Diagnostics& diagnostics)
      : what_(what), catalog_(catalog), diagnostics_(diagnostics) {}

  /// The value as the resolved recipe holds it: nested components filled in, integers as numbers where a number is
  /// wanted.
  Value check(const FieldInfo& field, const Value& value) {
    switch (field.type) {
      case FieldType::kBool:
        if (!value.is_bool()) wrong_kind(field, value);
        return value;
      case FieldType::kInt:
      case FieldType::kNumber:
        return check_number(field, value);
      case FieldType::kString:
        if (!value.is_string()) wrong_kind(field, value);
        return value;
      case FieldType::kChoice:
        check_choice(field, value);
        return value;
      case FieldType::kIntList:
      case FieldType::kNumberList:
      case FieldType::kStringList:
      case FieldType::kComponentList:
        return check_list(field, value);
      case FieldType::kComponent:
        return resolve_component(field.component_kind, field.extras, value, catalog_, diagnostics_);
      case FieldType::kScheduled:
        if (value.is_table()) return resolve_component(field.component_kind, {}, value, catalog_, diagnostics_);
        return check_number(field, value);
      case FieldType::kTable:
        return resolve_table(field.extras, value, fmt::format("{}, {}", what_, field.name), catalog_, diagnostics_);
      case FieldType::kNumberTable:
        return check_number_table(field, value);
    }
    return value;
  }

 private:
  void wrong_kind(const FieldInfo& field, const Value& value) {
    diagnostics_.error(value.location, fmt::format("{}: '{}' wants {}, and this is {}", what_, field.name,
                                                   with_article(type_name(field.type)), value.kind_name()));
  }

  Value check_number(const FieldInfo& field, const Value& value) {
    const bool fits = field.type == FieldType::kInt ? value.is_int() : value.is_number();
    if (!fits) {
      wrong_kind(field, value);
      return value;
    }
    const double number = value.as_number();
    if (!std::isfinite(number)) {
      diagnostics_.error(value.location,
                         fmt::format("{}: '{}' = {} must be finite", what_, field.name, value.to_toml()));
      return value;
    }
    const bool high_enough =
        !field.low || number > field.low->value || (field.low->inclusive && number == field.low->value);
    const bool low_enough =
        !field.high || number < field.high->value || (field.high->inclusive && number == field.high->value);
    if (!high_enough || !low_enough) {
      diagnostics_.error(value.location, fmt::format("{}: '{}' = {} must be {}", what_, field.name, value.to_toml(),
                                                     field.range_text()));
    }
    if (field.type == FieldType::kInt) return value;
    Value result(number);
    result.location = value.location;
    return result;
  }

  Value check_number_table(const FieldInfo& field, const Value& value) {
    if (!value.is_table()) {
      wrong_kind(field, value);
      return value;
    }
    FieldInfo item_field = field;
    item_field.type = FieldType::kNumber;
    Value result = value;
    for (Member& item : result.as_table()) {
      item_field.name = field.name + "." + item.key;
      item.value = check_number(item_field, item.value);
    }
    return result;
  }

  void check_choice(const FieldInfo& field, const Value& value) {
    if (!value.is_string()) return wrong_kind(field, value);
    if (std::find(field.choices.begin(), field.choices.end(), value.as_string()) != field.choices.end()) return;
    const std::string nearest = nearest_name(value.as_string(), field.choices);
    diagnostics_.error(value.location,
                       fmt::format("{}: '{}' = {} is not {}", what_, field.name, value.to_toml(), field.range_text()),
                       nearest.empty() ? "" : "did you mean '" + nearest + "'?");
  }

  Value check_list(const FieldInfo& field, const Value& value) {
    if (!value.is_list()) {
      wrong_kind(field, value);
      return value;
    }
    FieldInfo item_field = field;
    item_field.type = field.type == FieldType::kIntList      ? FieldType::kInt
                      : field.type == FieldType::kNumberList ? FieldType::kNumber
                      : field.type == FieldType::kStringList ? FieldType::kString
                                                             : FieldType::kComponent;
    Value result = value;
    for (Value& item : result.as_list()) item = check(item_field, item);
    return result;
  }

  const std::string& what_;
  const ComponentCatalog& catalog_;
  Diagnostics& diagnostics_;
};

}  // namespace

const Location& default_location() {
  static const Location location{std::make_shared<const std::string>("default"), 0, 0};
  return location;
}

namespace {

void place_at_default(Value& value) {
  value.location = default_location();
  if (value.is_list()) {
    for (Value& item : value.as_list()) place_at_default(item);
  } else if (value.is_table()) {
    for (Member& member : value.as_table()) place_at_default(member.value);
  }
}

}  // namespace

namespace {

/// Lays an override such as losses.kd.temperature=8, which comes as a table of positions or types, on a list of the
/// defaults.
Value change_default_list(const Value& list, const Value& changes, const std::string& what, Diagnostics& diagnostics) {
  Value result = list;
  place_at_default(result);
  for (const Member& member : changes.as_table()) {
    Diagnostics found;
    if (Value* item = find_item(result, member.key, member.key_location, found, "the default list")) {
      merge(*item, member.value, diagnostics);
      continue;
    }
    const Problem& problem = found.problems().front();
    diagnostics.error(problem.location, fmt::format("{}: {}", what, problem.message),
                      problem.hint + "; a list of your own is written [ ... ]");
  }
  return result;
}

}  // namespace

Value resolve_table(const std::vector<FieldInfo>& fields, const Value& table, const std::string& what,
                    const ComponentCatalog& catalog, Diagnostics& diagnostics) {
  Value result = Value(Value::Table{});
  result.location = table.location;
  if (!table.is_table()) {
    diagnostics.error(table.location, fmt::format("{}: a table is wanted, and this is {}", what, table.kind_name()));
    return result;
  }
  std::vector<std::string> known;
  for (const FieldInfo& field : fields) known.push_back(field.name);
  report_unknown_keys(table, what, fields, known, diagnostics);
  FieldChecker checker(what, catalog, diagnostics);
  for (const FieldInfo& field : fields) {
    const Value* given = table.find(field.name);
    if (given == nullptr || given->is_null()) {
      if (field.required) {
        diagnostics.error(table.location, fmt::format("{}: '{}' is required: {}", what, field.name, field.help));
      } else if (!field.default_value.is_null()) {
        Value value = checker.check(field, field.default_value);
        place_at_default(value);
        result.set(field.name, std::move(value), default_location());
      }
    } else if (changes_items(*given) && field.default_value.is_list()) {
      const Value changed = change_default_list(field.default_value, *given, what, diagnostics);
      result.set(field.name, checker.check(field, changed), given->location);
    } else {
      result.set(field.name, checker.check(field, *given), given->location);
    }
  }
  return result;
}

namespace {

/// Of a component that is not known: the keys that its place adds can be checked all the same.
void check_extras(const std::string& kind, const std::vector<FieldInfo>& extras, const Value& table,
                  const ComponentCatalog& catalog, Diagnostics& diagnostics) {
  Value beside = Value(Value::Table{});
  beside.location = table.location;
  for (const Member& member : table.as_table()) {
    const bool known =
        std::any_of(extras.begin(), extras.end(), [&](const FieldInfo& field) { return field.name == member.key; });
    if (known) beside.set(member.key, member.value, member.key_location);
  }
  const std::string what = fmt::format("{} '{}'", kind, table.find("type")->as_string());
  resolve_table(extras, beside, what, catalog, diagnostics);
}

}  // namespace

Value resolve_component(const std::string& kind, const std::vector<FieldInfo>& extras, const Value& table,
                        const ComponentCatalog& catalog, Diagnostics& diagnostics) {
  if (!table.is_table()) {
    diagnostics.error(table.location,
                      fmt::format("{} is a table with 'type', and this is {}", with_article(kind), table.kind_name()),
                      table.is_string() ? fmt::format("write {{ type = {} }}", table.to_toml()) : "");
    return table;
  }
  const Value* type = table.find("type");
  if (type == nullptr || !type->is_string()) {
    diagnostics.error(type == nullptr ? table.location : type->location, fmt::format("this {} needs a 'type'", kind),
                      name_hint("", catalog.names(kind)));
    return table;
  }
  const std::vector<FieldInfo>* own = catalog.fields(kind, type->as_string());
  if (own == nullptr) {
    const std::string published = kind == "model" ? model_of_published_name(type->as_string()) : "";
    std::string hint = published.empty() ? name_hint(type->as_string(), catalog.names(kind)) : "write " + published;
    const std::string refusals = catalog.refusals();
    if (!refusals.empty()) hint += "; libraries that were refused:" + refusals;
    diagnostics.error(type->location, fmt::format("unknown {} '{}'", kind, type->as_string()), hint);
    check_extras(kind, extras, table, catalog, diagnostics);
    return table;
  }
  std::vector<FieldInfo> all = *own;
  for (FieldInfo beside : extras) {
    const Published* published = catalog.published(kind, type->as_string());
    if (beside.name == "weight" && kind == "loss" && published != nullptr && *published->weight != '\0')
      beside.default_value = Value::parse(published->weight);
    all.push_back(std::move(beside));
  }
  Value parameters = table;
  parameters.erase("type");
  const Value resolved =
      resolve_table(all, parameters, fmt::format("{} '{}'", kind, type->as_string()), catalog, diagnostics);
  Value result = Value(Value::Table{});
  result.location = table.location;
  result.set("type", *type, type->location);
  for (const Member& member : resolved.as_table()) result.set(member.key, member.value, member.key_location);
  return result;
}

ComponentSpec to_component(const std::string& kind, const std::vector<FieldInfo>& extras, const Value& resolved) {
  ComponentSpec spec{kind, resolved.find("type")->as_string(), Value(Value::Table{}), Value(Value::Table{}),
                     resolved.location};
  for (const Member& member : resolved.as_table()) {
    if (member.key == "type") continue;
    const bool extra =
        std::any_of(extras.begin(), extras.end(), [&](const FieldInfo& field) { return field.name == member.key; });
    (extra ? spec.extras : spec.parameters).set(member.key, member.value, member.key_location);
  }
  return spec;
}

}  // namespace kd
