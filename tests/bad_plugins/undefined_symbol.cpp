// A plugin that calls a function which no library has.
#include "probe.h"

int kd_test_function_that_nobody_defines();

namespace {

class Undefined final : public probe::Probe {
 public:
  using Params = kd::NoParameters;

  explicit Undefined(const Params&) {}
  int answer() const override { return kd_test_function_that_nobody_defines(); }
};

}  // namespace

KD_REGISTER(probe::Probe, "undefined_symbol", Undefined, "cannot be linked")
