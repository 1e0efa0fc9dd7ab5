// unknown_keys.h
#include "recipe/unknown_keys.h"

#include <fmt/format.h>

#include <algorithm>

namespace kd {
namespace {

std::string hint_of_nested_key(const std::string& key, const std::vector<FieldInfo>& fields) {
  for (const FieldInfo& field : fields) {
    if (field.type == FieldType::kComponent && field.default_value.find(key) != nullptr)
      return fmt::format("write {0} = {{ …, {1} = … }}, or as an override {0}.{1}=…", field.name, key);
  }
  return "";
}

}  // namespace

void report_unknown_keys(const Value& table, const std::string& what, const std::vector<FieldInfo>& fields,
                         const std::vector<std::string>& known, Diagnostics& diagnostics) {
  for (const Member& member : table.as_table()) {
    if (std::find(known.begin(), known.end(), member.key) != known.end()) continue;
    // lr belongs to the optimizer: a key of the component that one of the fields holds by default.
    std::string hint = nearest_name(member.key, known).empty() ? hint_of_nested_key(member.key, fields) : "";
    if (hint.empty()) hint = name_hint(member.key, known, "known keys");
    diagnostics.error(member.key_location, fmt::format("{}: unknown key '{}'", what, member.key), hint);
  }
}

}  // namespace kd
