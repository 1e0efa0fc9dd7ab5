// One network learns from labels alone.
//   scheme = { type = "supervised", losses = [{ type = "cross_entropy" }] }
#include <optional>

#include "kd/plugin.h"
#include "kd/scheme.h"

namespace {

class Supervised final : public kd::Scheme {
 public:
  struct Params {
    std::vector<kd::ComponentSpec> losses;

    static void schema(kd::Schema<Params>& s) {
      s.components("losses", &Params::losses, "loss", "the objective is the weighted sum of these")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'cross_entropy' }]");
    }
  };

  explicit Supervised(const Params& params) : params_(params) {}

  void setup(kd::StageContext& context) override {
    objective_.emplace(params_.losses, context, *context.networks().front());
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override { objective_->step(batch, {}, updater); }

  bool recordable() const override { return objective_->losses().recordable(); }

 private:
  const Params params_;
  std::optional<kd::Objective> objective_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "supervised", Supervised, "one network learns from labels")
