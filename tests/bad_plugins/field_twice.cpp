// A plugin that declares one parameter twice.
#include "probe.h"

namespace {

class FieldTwice final : public probe::Probe {
 public:
  struct Params {
    double first = 0, second = 0;

    static void schema(kd::Schema<Params>& s) {
      s.field("size", &Params::first, "one of them").def(1.0);
      s.field("size", &Params::second, "the other").def(2.0);
    }
  };

  explicit FieldTwice(const Params&) {}
  int answer() const override { return 0; }
};

}  // namespace

KD_REGISTER(probe::Probe, "field_twice", FieldTwice, "declares 'size' twice")
