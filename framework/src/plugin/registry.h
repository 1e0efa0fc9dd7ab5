// Every component of the process by kind and name, and the libraries that were refused.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kd/plugin.h"

namespace kd {

/// A component and the library it came from.
struct RegisteredComponent {
  std::string kind, name, help;
  std::string source;  ///< file:line of KD_REGISTER
  std::filesystem::path library;
  std::vector<FieldInfo> fields;
  Roles roles;
  DataSource data_source;
  const detail::Entry* entry = nullptr;
};

struct RefusedLibrary {
  std::filesystem::path library;
  std::string reason;
};

/// Filled once by load_plugins; leaked on purpose, because live gradient functions refer to plugin code until the very
/// end.
class KD_API Registry : public ComponentCatalog {
 public:
  ~Registry() override;

  /// Adds the components of a library, all or none. A name that is taken is refused, naming both libraries and source
  /// lines.
  void add(const detail::Entry* entries, const std::filesystem::path& library);
  void refuse(const std::filesystem::path& library, const std::string& reason);

  const RegisteredComponent* find(const std::string& kind, const std::string& name) const;
  /// All components of a kind (empty: of every kind), by kind and name.
  std::vector<const RegisteredComponent*> components(const std::string& kind = "") const;
  const std::vector<RefusedLibrary>& refused() const { return refused_; }

  const std::vector<FieldInfo>* fields(const std::string& kind, const std::string& type) const override;
  std::vector<std::string> names(const std::string& kind) const override;
  Roles roles(const std::string& kind, const std::string& type) const override;
  const Published* published(const std::string& kind, const std::string& type) const override;
  std::string refusals() const override;

 private:
  std::map<std::pair<std::string, std::string>, RegisteredComponent> components_;
  std::vector<RefusedLibrary> refused_;
};

/// The registry of this process.
KD_API Registry& registry();

/// Where the files of the registered data sets come from, by name; those that do not say are left out.
KD_API std::vector<DataSource> data_sources();

/// The component of a kind that TOML text describes, with its defaults. Throws RecipeError with every problem.
KD_API ComponentSpec parse_component(const std::string& kind, const std::vector<FieldInfo>& extras,
                                     std::string_view toml);
/// Same for a list of components.
KD_API std::vector<ComponentSpec> parse_components(const std::string& kind, std::string_view toml);

/// The kinds of component there are, in the order in which `kdrun list` shows them.
KD_API const std::vector<std::string>& component_kinds();

}  // namespace kd
