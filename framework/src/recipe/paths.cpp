// paths.h
#include "recipe/paths.h"

#include <algorithm>

namespace kd {
namespace {

std::string last_steps(const std::string& path, std::size_t count) {
  std::size_t begin = path.size();
  for (; count > 0; --count) {
    const std::size_t dot = begin == 0 ? std::string::npos : path.rfind('.', begin - 1);
    if (dot == std::string::npos) return path;
    begin = dot;
  }
  return path.substr(begin + 1);
}

}  // namespace

std::vector<std::string> shortened(const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const std::string& path : paths) {
    std::size_t steps = 1;
    const auto is_shared = [&] {
      return std::count_if(paths.begin(), paths.end(), [&](const std::string& other) {
               return last_steps(other, steps) == last_steps(path, steps);
             }) > 1;
    };
    while (is_shared() && last_steps(path, steps) != path) ++steps;
    names.push_back(last_steps(path, steps));
  }
  return names;
}

}  // namespace kd
