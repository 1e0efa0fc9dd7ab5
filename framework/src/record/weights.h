// Files of weights, whoever wrote them: safetensors, and what torch.save writes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kd/api.h"
#include "record/safetensors.h"

namespace kd {

/// What a file of weights holds.
struct KD_API Weights {
  TensorMap tensors;               ///< under the names of the file
  std::vector<std::string> notes;  ///< a line for whatever was passed over
};

/// Reads safetensors, the zip container of torch.save and its container before PyTorch 1.6; a bare state dict, or one
/// under "model", "state_dict", "model_state_dict" or "net" as public repositories keep it. Objects beside the weights
/// are passed over by name, and nothing of the file is ever executed. Throws kd::FileError that names the file where it
/// is damaged, truncated or holds no weights.
KD_API Weights read_weights(const std::filesystem::path& file);

/// The weights whose names begin with `prefix`, without it. Throws FileError where there are none.
KD_API TensorMap with_prefix(const TensorMap& weights, const std::string& prefix);

/// The weights under the names of a network, as far as taking one prefix off all of them ("module.",
/// "_orig_mod.model.") helps; `note` then says so.
KD_API TensorMap without_common_prefix(TensorMap weights, const std::vector<std::string>& names, std::string* note);

/// Throws FileError that names the tensors with NaN or infinite numbers.
KD_API void require_finite(const TensorMap& weights, const std::string& source);

/// Writes a state dict that Python's torch.load(file, weights_only=True) reads, whole or not at all.
KD_API void write_pth(const std::filesystem::path& file, const TensorMap& tensors);

}  // namespace kd
