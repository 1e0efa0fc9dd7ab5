// A plugin that registers one name twice.
#include "probe.h"

namespace {

class First final : public probe::Probe {
 public:
  using Params = kd::NoParameters;

  explicit First(const Params&) {}
  int answer() const override { return 1; }
};

class Second final : public probe::Probe {
 public:
  using Params = kd::NoParameters;

  explicit Second(const Params&) {}
  int answer() const override { return 2; }
};

}  // namespace

KD_REGISTER(probe::Probe, "same_name", First, "first")
KD_REGISTER(probe::Probe, "same_name", Second, "second")
