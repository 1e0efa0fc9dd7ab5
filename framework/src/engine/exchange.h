// What the processes of a group tell each other beside sums: texts, and named tensors of unlike shapes.
#pragma once

#include <string>
#include <vector>

#include "kd/group.h"
#include "record/safetensors.h"

namespace kd {

/// The text of every process, that of process 0 first.
KD_API std::vector<std::string> gather_texts(Group& group, const std::string& own);

/// The tensors of all processes, on the CPU. Their names differ from process to process.
KD_API TensorMap gather_tensors(Group& group, const TensorMap& own);

}  // namespace kd
