// Files of weights, whoever wrote them: safetensors, and what torch.save writes.
#pragma once

#include <filesystem>
#include <string>

#include "kd/api.h"
#include "record/safetensors.h"

namespace kd {

/// Weights by their names in the network. Reads safetensors, the zip container of torch.save and its container before
/// PyTorch 1.6; a bare state dict, or one under "model", "state_dict", "model_state_dict" or "net" as public
/// repositories keep it; the prefix "module." of DataParallel is taken off. Nothing of the file is ever executed.
/// Throws kd::FileError that names the file, where it is damaged, truncated or holds anything but tensors and plain
/// values.
KD_API TensorMap read_weights(const std::filesystem::path& file);

/// Writes a state dict that Python's torch.load(file, weights_only=True) reads, whole or not at all.
KD_API void write_pth(const std::filesystem::path& file, const TensorMap& tensors);

}  // namespace kd
