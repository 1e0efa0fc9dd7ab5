// state_dict.h
#include "engine/state_dict.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <algorithm>

#include "kd/diagnostics.h"

namespace kd {

TensorMap state_dict(Model& model) {
  TensorMap state;
  const auto module = model.module();
  for (const auto& item : module->named_parameters()) state[item.key()] = item.value().data();
  for (const auto& item : module->named_buffers()) state[item.key()] = item.value();
  return state;
}

std::vector<std::string> state_names(Model& model) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state_dict(model)) names.push_back(name);
  return names;
}

namespace {

/// The first lines of a list, and how many more there are.
std::string few_of(const std::vector<std::string>& lines, const std::string& what) {
  constexpr std::size_t kMost = 6;
  std::string text;
  for (std::size_t i = 0; i < std::min(lines.size(), kMost); ++i) text += fmt::format("\n    {}: {}", what, lines[i]);
  if (lines.size() > kMost) text += fmt::format("\n    … and {} more {}", lines.size() - kMost, what);
  return text;
}

/// "linear.=fc." where a missing name and an unexpected one differ in what stands before their last part, and nowhere
/// else.
std::string renaming(const TensorMap& own, const TensorMap& state, const std::vector<std::string>& missing,
                     const std::vector<std::string>& unexpected) {
  for (const std::string& wanted : missing) {
    const std::size_t end = wanted.rfind('.');
    for (const std::string& given : unexpected) {
      const std::size_t same = given.rfind('.');
      if (end == std::string::npos || same == std::string::npos || wanted.substr(end) != given.substr(same) ||
          own.at(wanted).sizes() != state.at(given).sizes())
        continue;
      return given.substr(0, same + 1) + "=" + wanted.substr(0, end + 1);
    }
  }
  return "";
}

}  // namespace

void load_state_dict(Model& model, const TensorMap& state, const std::string& source) {
  const at::NoGradGuard no_gradient;
  const TensorMap own = state_dict(model);
  std::vector<std::string> missing, unexpected, misshapen;
  // PyTorch counts batches since 0.4.1 and forgives files that are older, too.
  const auto may_be_missing = [](const std::string& name) { return name.ends_with("num_batches_tracked"); };
  for (const auto& [name, tensor] : own) {
    const auto found = state.find(name);
    if (found == state.end()) {
      if (!may_be_missing(name)) missing.push_back(name);
    } else if (found->second.sizes() != tensor.sizes()) {
      misshapen.push_back(
          fmt::format("{} is {} and should be {}", name, c10::str(found->second.sizes()), c10::str(tensor.sizes())));
    }
  }
  for (const auto& [name, tensor] : state) {
    if (!own.contains(name)) unexpected.push_back(name);
  }
  if (!missing.empty() || !unexpected.empty() || !misshapen.empty()) {
    const std::string rename = renaming(own, state, missing, unexpected);
    throw FileError(
        {},
        source + " does not hold the weights of this network:" + few_of(missing, "missing") +
            few_of(misshapen, "wrong shape") + few_of(unexpected, "unexpected"),
        rename.empty() ? "" : "kdrun import --rename " + rename + " takes names as they are in the network");
  }
  for (const auto& [name, tensor] : own) {
    if (const auto found = state.find(name); found != state.end()) tensor.copy_(found->second);
  }
}

bool is_below(const std::string& name, const std::string& prefix) {
  return name == prefix || (name.starts_with(prefix) && name[prefix.size()] == '.');
}

std::vector<std::string> first_parts(const std::vector<std::string>& names) {
  std::vector<std::string> parts;
  for (const std::string& name : names) {
    const std::string part = name.substr(0, name.find('.'));
    if (std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(part);
  }
  return parts;
}

FittingReport load_fitting(const TensorMap& target, const TensorMap& offered, const std::vector<std::string>& parts) {
  const at::NoGradGuard no_gradient;
  FittingReport report;
  const auto is_wanted = [&](const std::string& name) {
    return parts.empty() ||
           std::any_of(parts.begin(), parts.end(), [&](const std::string& part) { return is_below(name, part); });
  };
  for (const auto& [name, tensor] : offered) {
    if (!is_wanted(name)) continue;
    const auto own = target.find(name);
    if (own == target.end()) {
      report.left.push_back(name + " (no such name here)");
    } else if (own->second.sizes() != tensor.sizes()) {
      report.left.push_back(
          fmt::format("{} ({}, and here {})", name, c10::str(tensor.sizes()), c10::str(own->second.sizes())));
    } else {
      at::Tensor(own->second).copy_(tensor);
      report.taken.push_back(name);
    }
  }
  for (const auto& [name, tensor] : target) {
    if (!offered.contains(name)) report.untouched.push_back(name);
  }
  return report;
}

}  // namespace kd
