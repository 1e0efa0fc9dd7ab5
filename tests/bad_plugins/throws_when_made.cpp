// A plugin that loads, and whose components cannot be made.
#include "probe.h"

namespace {

template <class E>
class Thrower : public probe::Probe {
 public:
  using Params = kd::NoParameters;

  explicit Thrower(const Params&) { throw E("no luck today"); }
  int answer() const override { return 0; }
};

class ThrowsKdError final : public Thrower<kd::RecipeError> {
  using Thrower::Thrower;
};

class ThrowsRuntimeError final : public Thrower<std::runtime_error> {
  using Thrower::Thrower;
};

class ThrowsNumber final : public probe::Probe {
 public:
  using Params = kd::NoParameters;

  explicit ThrowsNumber(const Params&) { throw 7; }
  int answer() const override { return 0; }
};

}  // namespace

KD_REGISTER(probe::Probe, "throws_kd_error", ThrowsKdError, "throws kd::RecipeError")
KD_REGISTER(probe::Probe, "throws_runtime_error", ThrowsRuntimeError, "throws std::runtime_error")
KD_REGISTER(probe::Probe, "throws_number", ThrowsNumber, "throws an int")
