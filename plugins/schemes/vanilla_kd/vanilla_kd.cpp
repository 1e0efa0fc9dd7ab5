// One frozen teacher, one student, any list of weighted losses (Hinton, Vinyals and Dean, 2015).
#include <optional>

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
    teacher_ = context.teachers().front();
    objective_.emplace(params_.losses, context, *context.networks().front());
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    const kd::Outputs teacher = teacher_->outputs(batch, objective_->needs().teacher_taps);
    objective_->step(batch, &teacher, updater);
  }

 private:
  const Params params_;
  kd::Teacher* teacher_ = nullptr;
  std::optional<kd::Objective> objective_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "vanilla_kd", VanillaKd,
            "a student learns from labels and one frozen teacher (Hinton et al., 2015)")
