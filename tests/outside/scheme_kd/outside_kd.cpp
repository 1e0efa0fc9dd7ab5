// A scheme built outside kdrun's tree: distillation from one teacher with a loss list of its own.
#include <optional>

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
    teacher_ = context.teachers().front();
    objective_.emplace(params_.losses, context, *context.networks().front());
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    const kd::Outputs teacher = teacher_->outputs(batch, objective_->needs().teacher_taps);
    objective_->step(batch, {&teacher, 1}, updater);
  }

 private:
  const Params params_;
  kd::Teacher* teacher_ = nullptr;
  std::optional<kd::Objective> objective_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "outside_kd", OutsideKd, "distillation from one teacher")
