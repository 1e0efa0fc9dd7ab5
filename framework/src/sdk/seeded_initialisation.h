// LibTorch's initialisers draw from its global generator and take no other: it is lent a key and given back.
#pragma once

#include <ATen/core/Tensor.h>

#include "kd/api.h"
#include "kd/random.h"

namespace kd {

/// While it lives, modules that are made get their first weights from `key`; afterwards the global generator is as it
/// was.
class KD_API SeededInitialisation {
 public:
  explicit SeededInitialisation(RandomKey key);
  ~SeededInitialisation();
  SeededInitialisation(const SeededInitialisation&) = delete;
  SeededInitialisation& operator=(const SeededInitialisation&) = delete;

 private:
  at::Tensor state_;
};

}  // namespace kd
