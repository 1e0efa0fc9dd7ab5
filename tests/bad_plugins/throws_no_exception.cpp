// A plugin whose declaration of parameters throws a number.
#include "probe.h"

namespace {

class ThrowsNumber final : public probe::Probe {
 public:
  struct Params {
    static void schema(kd::Schema<Params>&) { throw 7; }
  };

  explicit ThrowsNumber(const Params&) {}
  int answer() const override { return 0; }
};

}  // namespace

KD_REGISTER(probe::Probe, "throws_no_exception", ThrowsNumber, "throws an int when described")
