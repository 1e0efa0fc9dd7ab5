// seeded_initialisation.h
#include "sdk/seeded_initialisation.h"

#include <ATen/CPUGeneratorImpl.h>

namespace kd {

SeededInitialisation::SeededInitialisation(RandomKey key) : state_(at::detail::getDefaultCPUGenerator().get_state()) {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  generator.set_current_seed(key.bits);
}

SeededInitialisation::~SeededInitialisation() {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  generator.set_state(state_);
}

}  // namespace kd
