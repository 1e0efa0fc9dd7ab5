// A plugin whose parameter has the name of a key that every component has, so that no recipe could set it.
#include "probe.h"

namespace {

class Swallowed final : public probe::Probe {
 public:
  struct Params {
    std::string type;

    static void schema(kd::Schema<Params>& s) { s.field("type", &Params::type, "never read").def(""); }
  };

  explicit Swallowed(const Params&) {}
  int answer() const override { return 0; }
};

}  // namespace

KD_REGISTER(probe::Probe, "swallowed_key", Swallowed, "declares a parameter called type")
