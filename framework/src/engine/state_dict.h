// The weights of a network under the names that Python's state_dict gives them.
#pragma once

#include <string>
#include <vector>

#include "kd/model.h"
#include "record/safetensors.h"

namespace kd {

/// Parameters and buffers. They share memory with the model.
KD_API TensorMap state_dict(Model& model);

/// The names of state_dict().
KD_API std::vector<std::string> state_names(Model& model);

/// Copies `state` into the model. Throws FileError that lists missing, unexpected and wrongly shaped names, a few of
/// each; `source` is named.
KD_API void load_state_dict(Model& model, const TensorMap& state, const std::string& source);

/// What became of tensors that were offered as a beginning.
struct KD_API FittingReport {
  std::vector<std::string> taken, left;  ///< names; `left` with the reason
  std::vector<std::string> untouched;    ///< names of `target` that nothing was offered for
};

/// Copies what fits in name and shape. `parts`: only names below these prefixes; empty: all.
KD_API FittingReport load_fitting(const TensorMap& target, const TensorMap& offered,
                                  const std::vector<std::string>& parts);

/// Whether `name` is `prefix` or a part of it: "layer1.0.weight" is below "layer1", not below "layer".
KD_API bool is_below(const std::string& name, const std::string& prefix);

/// First parts of names, each once: what a prefix can be.
KD_API std::vector<std::string> first_parts(const std::vector<std::string>& names);

}  // namespace kd
