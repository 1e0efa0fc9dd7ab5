// kd::Registry and the making of components.
#include "plugin/registry.h"

#include <fmt/format.h>

#include <set>

#include "recipe/settings.h"

namespace kd {

namespace {

/// A parameter called as a key of its place, or declared twice, would be swallowed: a recipe could not set it.
void check_declaration(const RegisteredComponent& component) {
  std::set<std::string> names;
  for (const FieldInfo& field : component.fields) {
    if (!names.insert(field.name).second) {
      throw Error(fmt::format("{} '{}' ({}) declares the parameter '{}' twice", component.kind, component.name,
                              component.source, field.name));
    }
  }
  for (const std::string& key : keys_beside(component.kind)) {
    if (!names.contains(key)) continue;
    throw Error(fmt::format("{} '{}' ({}) declares a parameter '{}', which is a key that stands beside every {}",
                            component.kind, component.name, component.source, key, component.kind));
  }
}

}  // namespace

Registry::~Registry() = default;

void Registry::add(const detail::Entry* entries, const std::filesystem::path& library) {
  std::map<std::pair<std::string, std::string>, RegisteredComponent> added;
  for (const detail::Entry* entry = entries; entry != nullptr; entry = entry->next) {
    RegisteredComponent component{.kind = entry->kind,
                                  .name = entry->name,
                                  .help = entry->help,
                                  .source = fmt::format("{}:{}", entry->file, entry->line),
                                  .library = library,
                                  .fields = entry->describe(),
                                  .roles = entry->roles(),
                                  .data_source = entry->source(),
                                  .entry = entry};
    check_declaration(component);
    const std::pair key(component.kind, component.name);
    const auto in_library = added.find(key);
    const RegisteredComponent* taken = in_library != added.end() ? &in_library->second : find(key.first, key.second);
    if (taken != nullptr) {
      throw Error(fmt::format("{} '{}' is registered twice: in {} ({}) and in {} ({})", key.first, key.second,
                              taken->library.string(), taken->source, library.string(), component.source));
    }
    added.emplace(key, std::move(component));
  }
  components_.merge(added);
}

void Registry::refuse(const std::filesystem::path& library, const std::string& reason) {
  refused_.push_back({library, reason});
}

const RegisteredComponent* Registry::find(const std::string& kind, const std::string& name) const {
  const auto found = components_.find({kind, name});
  return found == components_.end() ? nullptr : &found->second;
}

std::vector<const RegisteredComponent*> Registry::components(const std::string& kind) const {
  std::vector<const RegisteredComponent*> all;
  for (const auto& [key, component] : components_) {
    if (kind.empty() || key.first == kind) all.push_back(&component);
  }
  return all;
}

const Published* Registry::published(const std::string& kind, const std::string& type) const {
  const RegisteredComponent* component = find(kind, type);
  return component == nullptr ? nullptr : component->entry->published;
}

const std::vector<FieldInfo>* Registry::fields(const std::string& kind, const std::string& type) const {
  const RegisteredComponent* component = find(kind, type);
  return component == nullptr ? nullptr : &component->fields;
}

std::vector<std::string> Registry::names(const std::string& kind) const {
  std::vector<std::string> all;
  for (const RegisteredComponent* component : components(kind)) all.push_back(component->name);
  return all;
}

Roles Registry::roles(const std::string& kind, const std::string& type) const {
  const RegisteredComponent* component = find(kind, type);
  return component == nullptr ? Roles{} : component->roles;
}

std::string Registry::refusals() const {
  std::string text;
  for (const RefusedLibrary& refused : refused_) text += "\n      " + refused.library.string() + ": " + refused.reason;
  return text;
}

Registry& registry() {
  static Registry* const the_registry = new Registry;
  return *the_registry;
}

std::vector<DataSource> data_sources() {
  std::vector<DataSource> sources;
  for (const RegisteredComponent* component : registry().components("dataset")) {
    if (component->data_source.files.empty()) continue;
    sources.push_back(component->data_source);
    sources.back().name = component->name;
  }
  return sources;
}

const ComponentCatalog& registered_components() { return registry(); }

ComponentSpec parse_component(const std::string& kind, const std::vector<FieldInfo>& extras, std::string_view toml) {
  Diagnostics diagnostics;
  const Value resolved = resolve_component(kind, extras, Value::parse(toml), registry(), diagnostics);
  diagnostics.throw_if_any();
  return to_component(kind, extras, resolved);
}

std::vector<ComponentSpec> parse_components(const std::string& kind, std::string_view toml) {
  const Value list = Value::parse(toml);
  if (!list.is_list()) throw RecipeError(list.location, fmt::format("want a list, [{{ type = … }}, …], of {}s", kind));
  Diagnostics diagnostics;
  std::vector<Value> resolved;
  for (const Value& item : list.as_list()) {
    resolved.push_back(resolve_component(kind, {}, item, registry(), diagnostics));
  }
  diagnostics.throw_if_any();
  std::vector<ComponentSpec> components;
  for (const Value& item : resolved) components.push_back(to_component(kind, {}, item));
  return components;
}

const std::vector<std::string>& component_kinds() {
  static const std::vector<std::string> kinds = {"dataset", "model",     "augmentation", "loss",
                                                 "scheme",  "optimizer", "schedule",     "analysis"};
  return kinds;
}

void* detail::create_component(const ComponentSpec& spec, const void* context) {
  const RegisteredComponent* component = registry().find(spec.kind, spec.type);
  if (component == nullptr) throw Error(fmt::format("there is no {} '{}'", spec.kind, spec.type));
  const std::string what = fmt::format("{} '{}'", spec.kind, spec.type);
  try {
    return component->entry->create(spec.parameters, context);
  } catch (const Error& error) {
    std::vector<Problem> problems = error.problems();
    for (Problem& problem : problems) {
      problem.message = what + ": " + problem.message;
      if (!problem.location.source) problem.location = spec.location;
    }
    if (error.code() == ExitCode::kUsage) throw RecipeError(std::move(problems));
    throw Error(std::move(problems), error.code());
  } catch (const std::exception& error) {
    throw Error({{spec.location, fmt::format("{} could not be made: {} (library {})", what, message_of(error),
                                             component->library.string())}});
  } catch (...) {
    throw Error({{spec.location,
                  fmt::format("{} could not be made: its constructor threw something that is no exception (library {})",
                              what, component->library.string())}});
  }
}

void detail::add_components(const Entry* entries, const std::string& library) { registry().add(entries, library); }

}  // namespace kd
