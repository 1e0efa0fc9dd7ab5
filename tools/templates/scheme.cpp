// The scheme "KD_NAME_HERE": one network learns from the losses that the recipe lists.
// Say here what a step of yours does, and cite the paper that it comes from.
#include "kd/scheme.h"

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

  // Once, before the first step. A scheme with a teacher finds it in context.teachers().
  void setup(kd::StageContext& context) override {
    network_ = context.networks().front();
    losses_ = std::make_unique<kd::LossList>(params_.losses, context.loss_context());
    needs_ = losses_->needs();
    context.require(needs_, *network_);
    for (const auto& module : losses_->modules()) context.train_with(*network_, module);
  }

  // Once per batch. The engine does everything behind update(): gradients, the optimizer, averages and records.
  void step(const kd::Batch& batch, kd::Updater& updater) override {
    const kd::Outputs outputs = network_->forward(batch.images, needs_.student_taps);
    updater.update(
        *network_,
        (*losses_)({.student = outputs, .targets = batch.targets, .index = batch.index, .time = updater.time()}),
        {.logits = outputs.logits, .targets = batch.targets});
  }

 private:
  const Params params_;
  kd::Network* network_ = nullptr;
  std::unique_ptr<kd::LossList> losses_;
  kd::LossNeeds needs_;
};

}  // namespace

// Recipes find the class under this name: scheme = { type = "KD_NAME_HERE" }.
KD_REGISTER(kd::Scheme, "KD_NAME_HERE", KdClassHere, "one network learns from a list of losses")
