// A plugin in order.
#include "probe.h"

namespace {

class Good final : public probe::Probe {
 public:
  struct Params {
    std::int64_t number = 0;

    static void schema(kd::Schema<Params>& s) { s.field("number", &Params::number, "the answer").def(42); }
  };

  explicit Good(const Params& params) : params_(params) {}
  int answer() const override { return static_cast<int>(params_.number); }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(probe::Probe, "good", Good, "in order")
