// One network learns from labels alone.
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
    network_ = context.networks().front();
    losses_ = std::make_unique<kd::LossList>(params_.losses, context.loss_context());
    needs_ = losses_->needs();
    context.require(needs_, *network_);
    for (const auto& module : losses_->modules()) context.train_with(*network_, module);
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    const kd::Outputs outputs = network_->forward(batch.images, needs_.student_taps);
    updater.update(*network_, (*losses_)({.student = outputs,
                                          .targets = batch.targets,
                                          .index = batch.index,
                                          .time = updater.time()}));
  }

 private:
  const Params params_;
  kd::Network* network_ = nullptr;
  std::unique_ptr<kd::LossList> losses_;
  kd::LossNeeds needs_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "supervised", Supervised, "one network learns from labels")
