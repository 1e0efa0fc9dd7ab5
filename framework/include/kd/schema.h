// Declared parameters: one line per parameter gives parsing, default, check, help, documentation and the resolved
// recipe.
//
//   struct Params {
//     double temperature;
//     static void schema(kd::Schema<Params>& s) {
//       s.field("temperature", &Params::temperature, "softens both sets of logits").def(4.0).above(0);
//     }
//   };
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kd/api.h"
#include "kd/diagnostics.h"
#include "kd/value.h"

namespace kd {

/// A component named in a recipe: a table with `type`, the parameters of that type, and whatever else its place allows.
struct KD_API ComponentSpec {
  std::string kind;  ///< "loss", "model", …
  std::string type;  ///< the registered name; empty where an optional component was left out
  Value parameters;  ///< table with every declared parameter, defaults filled in
  Value extras;      ///< table with the keys that its place adds, such as `weight` in a list of losses
  Location location;

  explicit operator bool() const { return !type.empty(); }
};

/// A number, or a schedule that gives the number over the course of training.
struct KD_API Scheduled {
  double number = 0;
  ComponentSpec schedule;  ///< set where the recipe holds a schedule

  Scheduled() = default;
  explicit Scheduled(double value) : number(value) {}
};

enum class FieldType {
  kBool,
  kInt,
  kNumber,
  kString,
  kChoice,
  kIntList,
  kNumberList,
  kStringList,
  kComponent,
  kComponentList,
  kScheduled,
  kTable,
  kNumberTable,
};

/// "integer", "number", "list of integers", … as `kdrun describe` prints it.
KD_API std::string type_name(FieldType type);

/// What is known of one parameter.
struct KD_API FieldInfo {
  struct Bound {
    double value;
    bool inclusive;
  };

  std::string name;
  std::string help;  ///< with unit and paper where there is one
  FieldType type = FieldType::kNumber;
  bool required = true;
  Value default_value;  ///< as a recipe would write it; null where required, or for an optional component left out
  std::optional<Bound> low, high;
  std::vector<std::string> choices;
  std::string component_kind;  ///< for components: the kind that is wanted
  /// For components: keys that stand beside the component's own parameters. For tables: their keys.
  std::vector<FieldInfo> extras;

  /// "in [0, 1]", "> 0", "one of: a | b", or empty.
  std::string range_text() const;
};

/// The networks a scheme works on. A recipe gives them under `model`, `models` and `teachers`.
struct KD_API Roles {
  static constexpr std::int64_t kAnyNumber = std::int64_t{1} << 32;

  std::int64_t fewest_networks = 1, most_networks = 1;  ///< trained networks
  std::int64_t fewest_teachers = 0, most_teachers = 0;  ///< frozen networks
};

/// Where a method comes from. A class says it as `static constexpr kd::Published kPublished{…}`.
struct KD_API Published {
  const char* paper = "";   ///< "Zagoruyko and Komodakis, ICLR 2017, arXiv 1612.03928"
  const char* weight = "";  ///< of a loss, as a recipe writes it: what counts where a list of losses gives none
  const char* result = "";  ///< what it was shown on: "resnet32x4 → resnet8x4 on CIFAR-100: 73.44 %"
};

/// Finds out what a component declares; null pointer where the name is not known. The registry is one.
class KD_API ComponentCatalog {
 public:
  virtual ~ComponentCatalog();
  virtual const std::vector<FieldInfo>* fields(const std::string& kind, const std::string& type) const = 0;
  virtual std::vector<std::string> names(const std::string& kind) const = 0;
  virtual Roles roles(const std::string& kind, const std::string& type) const = 0;
  /// Null where nothing is known.
  virtual const Published* published(const std::string& /*kind*/, const std::string& /*type*/) const { return nullptr; }
  /// Why a name that a broken library was to provide is missing; empty where nothing is known.
  virtual std::string refusals() const { return {}; }
};

/// The catalog with every field list of plugins loaded in this process.
KD_API const ComponentCatalog& registered_components();

/// Where a value stands that no recipe wrote.
KD_API const Location& default_location();

/// Checks a table against its declaration and returns it with every default filled in, in declared order. Each problem
/// is reported to `diagnostics`, under the name `what` ("loss 'kd'").
KD_API Value resolve_table(const std::vector<FieldInfo>& fields, const Value& table, const std::string& what,
                           const ComponentCatalog& catalog, Diagnostics& diagnostics);

/// Same for a component: `type` names it, `extras` are the keys its place adds. Keeps `type` first in the result.
KD_API Value resolve_component(const std::string& kind, const std::vector<FieldInfo>& extras, const Value& table,
                               const ComponentCatalog& catalog, Diagnostics& diagnostics);

/// Splits a resolved component table into the component's own parameters and the extras of its place.
KD_API ComponentSpec to_component(const std::string& kind, const std::vector<FieldInfo>& extras, const Value& resolved);

/// Refines the declaration of one parameter: `.def(4.0).above(0)`.
class KD_API FieldBuilder {
 public:
  explicit FieldBuilder(FieldInfo& info) : info_(info) {}

  /// The value where the recipe gives none, as the recipe would write it.
  FieldBuilder& def(Value value);
  FieldBuilder& def(std::vector<std::int64_t> list);
  FieldBuilder& def(std::vector<double> list);
  FieldBuilder& def(std::vector<std::string> list);
  /// A component or list of components as TOML text.
  FieldBuilder& def_toml(std::string_view text);
  /// May be left out; the member is then empty.
  FieldBuilder& optional();
  FieldBuilder& range(double low, double high);
  FieldBuilder& at_least(double low);
  FieldBuilder& above(double low);
  FieldBuilder& at_most(double high);
  FieldBuilder& below(double high);
  /// Keys that may stand beside each component of this field.
  FieldBuilder& with(std::vector<FieldInfo> extras);

 private:
  FieldInfo& info_;
};

template <class P>
std::vector<FieldInfo> fields_of();
template <class P>
P read_parameters(const Value& resolved);

/// The parameters of `P`: what is declared of them, and how a resolved table becomes a `P`.
template <class P>
class Schema {
 public:
  FieldBuilder field(std::string name, bool P::* member, std::string help) {
    return add(std::move(name), FieldType::kBool, std::move(help),
               [member](P& p, const Value& v) { p.*member = v.as_bool(); });
  }
  FieldBuilder field(std::string name, std::int64_t P::* member, std::string help) {
    return add(std::move(name), FieldType::kInt, std::move(help),
               [member](P& p, const Value& v) { p.*member = v.as_int(); });
  }
  FieldBuilder field(std::string name, double P::* member, std::string help) {
    return add(std::move(name), FieldType::kNumber, std::move(help),
               [member](P& p, const Value& v) { p.*member = v.as_number(); });
  }
  FieldBuilder field(std::string name, std::string P::* member, std::string help) {
    return add(std::move(name), FieldType::kString, std::move(help),
               [member](P& p, const Value& v) { p.*member = v.as_string(); });
  }
  FieldBuilder field(std::string name, std::vector<std::int64_t> P::* member, std::string help) {
    return add(std::move(name), FieldType::kIntList, std::move(help), [member](P& p, const Value& v) {
      (p.*member).clear();
      for (const Value& item : v.as_list()) (p.*member).push_back(item.as_int());
    });
  }
  FieldBuilder field(std::string name, std::vector<double> P::* member, std::string help) {
    return add(std::move(name), FieldType::kNumberList, std::move(help), [member](P& p, const Value& v) {
      (p.*member).clear();
      for (const Value& item : v.as_list()) (p.*member).push_back(item.as_number());
    });
  }
  FieldBuilder field(std::string name, std::vector<std::string> P::* member, std::string help) {
    return add(std::move(name), FieldType::kStringList, std::move(help), [member](P& p, const Value& v) {
      (p.*member).clear();
      for (const Value& item : v.as_list()) (p.*member).push_back(item.as_string());
    });
  }
  /// Numbers under names of the user's choice; bounds hold for each.
  FieldBuilder field(std::string name, std::map<std::string, double> P::* member, std::string help) {
    return add(std::move(name), FieldType::kNumberTable, std::move(help), [member](P& p, const Value& v) {
      (p.*member).clear();
      for (const Member& item : v.as_table()) (p.*member)[item.key] = item.value.as_number();
    });
  }
  /// A table with keys of its own, which `T` declares; empty where it is left out.
  template <class T, class Base>
    requires std::derived_from<P, Base>
  FieldBuilder table(std::string name, std::optional<T> Base::* member, std::string help) {
    FieldBuilder builder = add(std::move(name), FieldType::kTable, std::move(help),
                               [member](P& p, const Value& v) { p.*member = read_parameters<T>(v); });
    fields_.back().extras = fields_of<T>();
    return builder.optional();
  }
  /// A number, or a table with a schedule.
  FieldBuilder field(std::string name, Scheduled P::* member, std::string help) {
    FieldBuilder builder = add(std::move(name), FieldType::kScheduled, std::move(help), [member](P& p, const Value& v) {
      if (v.is_number()) {
        p.*member = Scheduled(v.as_number());
      } else {
        (p.*member).schedule = to_component("schedule", {}, v);
      }
    });
    fields_.back().component_kind = "schedule";
    return builder;
  }
  /// One of a fixed set of names, kept as an enumeration.
  template <class E>
  FieldBuilder choice(std::string name, E P::* member, std::vector<std::pair<std::string, E>> options,
                      std::string help) {
    std::vector<std::string> names;
    for (const auto& option : options) names.push_back(option.first);
    FieldBuilder builder = add(std::move(name), FieldType::kChoice, std::move(help),
                               [member, options = std::move(options)](P& p, const Value& v) {
                                 for (const auto& option : options) {
                                   if (option.first == v.as_string()) p.*member = option.second;
                                 }
                               });
    fields_.back().choices = std::move(names);
    return builder;
  }
  /// A component of the given kind.
  FieldBuilder component(std::string name, ComponentSpec P::* member, std::string kind, std::string help) {
    const std::size_t index = fields_.size();
    FieldBuilder builder = add(std::move(name), FieldType::kComponent, std::move(help), nullptr);
    fields_.back().component_kind = std::move(kind);
    setters_.back() = [this_fields = &fields_, index, member](P& p, const Value& v) {
      const FieldInfo& info = (*this_fields)[index];
      p.*member = to_component(info.component_kind, info.extras, v);
    };
    return builder;
  }
  /// A list of components of the given kind.
  FieldBuilder components(std::string name, std::vector<ComponentSpec> P::* member, std::string kind,
                          std::string help) {
    const std::size_t index = fields_.size();
    FieldBuilder builder = add(std::move(name), FieldType::kComponentList, std::move(help), nullptr);
    fields_.back().component_kind = std::move(kind);
    setters_.back() = [this_fields = &fields_, index, member](P& p, const Value& v) {
      const FieldInfo& info = (*this_fields)[index];
      (p.*member).clear();
      for (const Value& item : v.as_list()) (p.*member).push_back(to_component(info.component_kind, info.extras, item));
    };
    return builder;
  }

  Schema() { fields_.reserve(kMostFields); }
  Schema(const Schema&) = delete;
  Schema& operator=(const Schema&) = delete;

  const std::vector<FieldInfo>& fields() const { return fields_; }

  /// Fills a `P` from a table that `resolve_table` has accepted.
  P read(const Value& resolved) const {
    P parameters{};
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      const Value* value = resolved.find(fields_[i].name);
      if (value != nullptr && !value->is_null()) setters_[i](parameters, *value);
    }
    return parameters;
  }

 private:
  // FieldBuilder holds a reference into fields_, so it must not move while a schema is declared.
  static constexpr std::size_t kMostFields = 64;

  FieldBuilder add(std::string name, FieldType type, std::string help, std::function<void(P&, const Value&)> setter) {
    if (fields_.size() == kMostFields) throw Error("a component declares more than 64 parameters");
    FieldInfo info;
    info.name = std::move(name);
    info.help = std::move(help);
    info.type = type;
    fields_.push_back(std::move(info));
    setters_.push_back(std::move(setter));
    return FieldBuilder(fields_.back());
  }

  std::vector<FieldInfo> fields_;
  std::vector<std::function<void(P&, const Value&)>> setters_;
};

/// What `P` declares.
template <class P>
std::vector<FieldInfo> fields_of() {
  Schema<P> schema;
  P::schema(schema);
  return schema.fields();
}

/// A `P` from a resolved table.
template <class P>
P read_parameters(const Value& resolved) {
  Schema<P> schema;
  P::schema(schema);
  return schema.read(resolved);
}

}  // namespace kd
