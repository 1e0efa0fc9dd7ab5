// How a class becomes a component that recipes can name: KD_REGISTER, and how a component is made from its name.
#pragma once

#include <concepts>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kd/api.h"
#include "kd/data_source.h"
#include "kd/diagnostics.h"
#include "kd/entry.h"
#include "kd/schema.h"

namespace kd {

namespace detail {

template <class I, class C>
struct Maker {
  static std::vector<FieldInfo> describe() { return fields_of<typename C::Params>(); }
  static Roles roles() {
    if constexpr (requires { C::roles(); }) {
      return C::roles();
    } else {
      return {};
    }
  }
  static DataSource source() {
    if constexpr (requires { C::source(); }) {
      return C::source();
    } else {
      return {};
    }
  }
  static constexpr const Published* published() {
    if constexpr (requires { C::kPublished; }) {
      return &C::kPublished;
    } else {
      return nullptr;
    }
  }
  static void* create(const Value& table, const void* context) {
    using Context = typename I::Context;
    using Params = typename C::Params;
    const Params parameters = read_parameters<Params>(table);
    if constexpr (std::constructible_from<C, const Params&, const Context&>) {
      return static_cast<I*>(new C(parameters, *static_cast<const Context*>(context)));
    } else {
      return static_cast<I*>(new C(parameters));
    }
  }
};

/// The untyped half of make(): finds the entry and calls it; errors name the component and its place in the recipe.
KD_API void* create_component(const ComponentSpec& spec, const void* context);

/// Takes components into the registry, under the name of the library that holds them.
KD_API void add_components(const Entry* entries, const std::string& library);

}  // namespace detail

/// For parameters of a component that has none.
struct KD_API NoParameters {
  static void schema(Schema<NoParameters>&) {}
};

/// Makes the component that `spec` names. Throws kd::Error with the component's name and place if it cannot be made.
template <class I>
std::unique_ptr<I> make(const ComponentSpec& spec, const typename I::Context& context = {}) {
  if (spec.kind != I::kKind) throw Error("a " + std::string(I::kKind) + " is wanted here, and this is a " + spec.kind);
  return std::unique_ptr<I>(static_cast<I*>(detail::create_component(spec, &context)));
}

/// Makes a component from TOML text: make<kd::Loss>("{ type = 'kd', temperature = 2 }"). Every problem is in the
/// exception.
template <class I>
std::unique_ptr<I> make(std::string_view toml, const typename I::Context& context = {}) {
  Diagnostics diagnostics;
  const Value resolved = resolve_component(I::kKind, {}, Value::parse(toml), registered_components(), diagnostics);
  diagnostics.throw_if_any();
  return make<I>(to_component(I::kKind, {}, resolved), context);
}

/// Loads every plugin of the search path (see docs/plugins.md) that is not loaded yet. Returns a line for each library
/// that was refused.
KD_API std::vector<std::string> load_plugins(const std::vector<std::string>& more_folders = {});

/// Makes known what the calling program registers itself, as a test does: once, after the plugins.
inline void add_own_components() { detail::add_components(detail::first_entry, "this program"); }

}  // namespace kd

#define KD_CONCATENATE_(a, b) a##b
#define KD_CONCATENATE(a, b) KD_CONCATENATE_(a, b)

/// KD_REGISTER(kd::Loss, "kd", HintonKd, "one line of help") at namespace scope. The class needs `struct Params` with a
/// static schema(), and a constructor from (const Params&) or (const Params&, const Interface::Context&).
#define KD_REGISTER(Interface, Name, Class, Help)                                                                      \
  namespace {                                                                                                          \
  constinit ::kd::detail::Entry KD_CONCATENATE(kd_entry_, __LINE__){Interface::kKind,                                  \
                                                                    Name,                                              \
                                                                    Help,                                              \
                                                                    __FILE__,                                          \
                                                                    __LINE__,                                          \
                                                                    &::kd::detail::Maker<Interface, Class>::describe,  \
                                                                    &::kd::detail::Maker<Interface, Class>::roles,     \
                                                                    &::kd::detail::Maker<Interface, Class>::source,    \
                                                                    ::kd::detail::Maker<Interface, Class>::published(),\
                                                                    &::kd::detail::Maker<Interface, Class>::create,    \
                                                                    nullptr};                                          \
  const ::kd::detail::Link KD_CONCATENATE(kd_link_, __LINE__){KD_CONCATENATE(kd_entry_, __LINE__)};                    \
  }
