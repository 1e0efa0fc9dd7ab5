// A scheme built outside kdrun's tree: distillation from one teacher with a loss list of its own.
#include "kd/plugin.h"
#include "kd/scheme.h"

namespace {

class OutsideKd final : public kd::Scheme {
 public:
  struct Params {
    std::vector<kd::ComponentSpec> losses;

    static void schema(kd::Schema<Params>& s) {
      s.components("losses", &Params::losses, "loss", "the objective is the weighted sum of these")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'cross_entropy', weight = 0.5 }, { type = 'outside_mse', weight = 0.5 }]");
    }
  };

  static kd::Roles roles() { return {.fewest_teachers = 1, .most_teachers = 1}; }

  explicit OutsideKd(const Params& params) : params_(params) {}

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
    updater.update(*student_,
                   (*losses_)({.student = student,
                               .teacher = &teacher,
                               .targets = batch.targets,
                               .index = batch.index,
                               .time = updater.time()}),
                   {.logits = student.logits, .targets = batch.targets});
  }

 private:
  const Params params_;
  kd::Network* student_ = nullptr;
  kd::Teacher* teacher_ = nullptr;
  std::unique_ptr<kd::LossList> losses_;
  kd::LossNeeds needs_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "outside_kd", OutsideKd, "distillation from one teacher")
