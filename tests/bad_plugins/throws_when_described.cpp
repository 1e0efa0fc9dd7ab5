// A plugin whose declaration of parameters throws. Its first component is in order, and must not stay behind.
#include "probe.h"

namespace {

class Whole final : public probe::Probe {
 public:
  using Params = kd::NoParameters;

  explicit Whole(const Params&) {}
  int answer() const override { return 1; }
};

class ThrowsWhenDescribed final : public probe::Probe {
 public:
  struct Params {
    static void schema(kd::Schema<Params>&) { throw std::runtime_error("the declaration is broken"); }
  };

  explicit ThrowsWhenDescribed(const Params&) {}
  int answer() const override { return 2; }
};

}  // namespace

// The last that is registered is the first that is described.
KD_REGISTER(probe::Probe, "throws_when_described", ThrowsWhenDescribed, "throws when described")
KD_REGISTER(probe::Probe, "whole_beside_broken", Whole, "in order")
