// What a plugin library hands to kdrun: a list of its classes. All that its generated entry point needs.
#pragma once

#include <vector>

#include "kd/api.h"

namespace kd {

struct DataSource;
struct FieldInfo;
struct Published;
struct Roles;
class Value;

namespace detail {

/// One registered class. Every member is a constant, so that building it at load time cannot throw: an exception inside
/// dlopen would end the process. Part of the binary interface: never reorder.
struct Entry {
  const char* kind;
  const char* name;
  const char* help;
  const char* file;
  int line;
  std::vector<FieldInfo> (*describe)();
  Roles (*roles)();
  DataSource (*source)();
  const Published* published;  ///< null where the class says nothing
  /// Returns a new I*, or throws.
  void* (*create)(const Value& parameters, const void* context);
  const Entry* next;
};

/// The classes of this library, and of no other: hidden, so every plugin has its own.
KD_LOCAL inline const Entry* first_entry = nullptr;

struct Link {
  explicit Link(Entry& entry) noexcept {
    entry.next = first_entry;
    first_entry = &entry;
  }
};

}  // namespace detail

/// What a library answers when asked for its components. Read before any C++ type crosses the border.
struct PluginInfo {
  unsigned struct_size;
  const char* stamp;
  const char* plugin_name;
  const detail::Entry* entries;
};

}  // namespace kd
