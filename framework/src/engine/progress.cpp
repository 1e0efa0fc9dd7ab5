// The key function of kd::Progress.
#include "engine/progress.h"

namespace kd {

Progress::~Progress() = default;

}  // namespace kd
