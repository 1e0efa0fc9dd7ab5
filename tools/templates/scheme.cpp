// The scheme "KD_NAME_HERE": one network learns from the losses that the recipe lists.
// Say here what a step of yours does, and cite the paper that it comes from.
#include "kd/scheme.h"

#include <optional>

#include "kd/plugin.h"

namespace {

class KdClassHere final : public kd::Scheme {
 public:
  // What recipes can set. Every parameter has its meaning, and a default unless the recipe must give it.
  struct Params {
    std::vector<kd::ComponentSpec> losses;

    static void schema(kd::Schema<Params>& s) {
      s.components("losses", &Params::losses, "loss", "the objective is the weighted sum of these")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'cross_entropy' }]");
    }
  };

  // How many networks and teachers it works on. For distillation: .fewest_teachers = 1, .most_teachers = 1.
  static kd::Roles roles() { return {.fewest_networks = 1, .most_networks = 1}; }

  explicit KdClassHere(const Params& params) : params_(params) {}

  // Once, before the first step. A scheme with teachers makes a kd::Teachers of the context.
  void setup(kd::StageContext& context) override {
    objective_.emplace(params_.losses, context, *context.networks().front());
  }

  // Once per batch: forward passes and updates. The engine does everything behind an update: gradients, the optimizer,
  // averages and records. An objective makes one of each; see kd/scheme.h for what it is made of.
  void step(const kd::Batch& batch, kd::Updater& updater) override { objective_->step(batch, {}, updater); }

 private:
  const Params params_;
  std::optional<kd::Objective> objective_;
};

}  // namespace

// Recipes find the class under this name: scheme = { type = "KD_NAME_HERE" }.
KD_REGISTER(kd::Scheme, "KD_NAME_HERE", KdClassHere, "one network learns from a list of losses")
