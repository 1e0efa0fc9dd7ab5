// Paths of settings, such as "stage.student.model.depth", as people read them.
#pragma once

#include <string>
#include <vector>

#include "kd/api.h"

namespace kd {

/// The ends of paths such as "stage.student.model.depth", each as long as it needs to be to differ from the others.
KD_API std::vector<std::string> shortened(const std::vector<std::string>& paths);

}  // namespace kd
