// Keys of a recipe that nothing declares.
#pragma once

#include <string>
#include <vector>

#include "kd/diagnostics.h"
#include "kd/schema.h"

namespace kd {

/// Reports every key of `table` that is not among `known`, the names of `fields` and more, with what was probably
/// meant.
void report_unknown_keys(const Value& table, const std::string& what, const std::vector<FieldInfo>& fields,
                         const std::vector<std::string>& known, Diagnostics& diagnostics);

}  // namespace kd
