// Networks by the names that papers and public repositories call them.
#pragma once

#include <string>
#include <string_view>

namespace kd {

/// The table that means the network in a recipe: { type = "resnet", depth = 20 } for "resnet20"; empty where none is
/// known.
std::string model_of_published_name(std::string_view name);

}  // namespace kd
