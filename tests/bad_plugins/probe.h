// A schedule's stand-in: a kind of component that needs neither LibTorch nor the engine.
#pragma once

#include "kd/plugin.h"

namespace probe {

class Probe {
 public:
  static constexpr const char* kKind = "schedule";
  struct Context {};

  virtual ~Probe() = default;
  virtual int answer() const = 0;
};

}  // namespace probe
