// One frozen teacher, one student, any list of weighted losses (Hinton, Vinyals and Dean, 2015).
#include "kd/plugin.h"
#include "kd/scheme.h"

namespace {

class VanillaKd final : public kd::Scheme {
 public:
  struct Params {
    std::vector<kd::ComponentSpec> losses;

    static void schema(kd::Schema<Params>& s) {
      s.components("losses", &Params::losses, "loss", "the objective is the weighted sum of these")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'cross_entropy', weight = 0.1 }, { type = 'kd', temperature = 4, weight = 0.9 }]");
    }
  };

  static kd::Roles roles() { return {.fewest_teachers = 1, .most_teachers = 1}; }

  explicit VanillaKd(const Params& params) : params_(params) {}

  void setup(kd::StageContext& context) override {
    student_ = context.networks().front();
    teacher_ = context.teachers().front();
    losses_ = std::make_unique<kd::LossList>(params_.losses, context.loss_context());
    needs_ = losses_->needs();
    context.require(needs_, *student_);
    for (const auto& module : losses_->modules()) context.train_with(*student_, module);
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    const kd::Outputs teacher = teacher_->outputs(batch, needs_.teacher_taps);
    const kd::Outputs student = student_->forward(batch.images, needs_.student_taps);
    updater.update(*student_, (*losses_)({.student = student,
                                          .teacher = &teacher,
                                          .targets = batch.targets,
                                          .index = batch.index,
                                          .time = updater.time()}));
  }

 private:
  const Params params_;
  kd::Network* student_ = nullptr;
  kd::Teacher* teacher_ = nullptr;
  std::unique_ptr<kd::LossList> losses_;
  kd::LossNeeds needs_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "vanilla_kd", VanillaKd, "a student learns from labels and one frozen teacher (Hinton et al., 2015)")
