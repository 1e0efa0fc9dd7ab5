// Frozen teachers, one student, any list of weighted losses (Hinton, Vinyals and Dean, arXiv 1503.02531).
//   scheme = { type = "vanilla_kd", losses = [{ type = "cross_entropy" }, { type = "kd", weight = 0.9 }] }
#include <cmath>
#include <optional>

#include "kd/plugin.h"
#include "kd/scheme.h"

namespace {

enum class TeacherInput { kSame, kPlain };

class VanillaKd final : public kd::Scheme {
 public:
  struct Params {
    std::vector<kd::ComponentSpec> losses;
    TeacherInput teacher_input = TeacherInput::kSame;
    double stop_epoch = 0;

    static void schema(kd::Schema<Params>& s) {
      s.components("losses", &Params::losses, "loss",
                   "the objective is the weighted sum of these; of several teachers, a loss that needs one is the mean "
                   "over them by their weights")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'cross_entropy', weight = 0.1 }, { type = 'kd', temperature = 4, weight = 0.9 }]");
      s.choice("teacher_input", &Params::teacher_input,
               {{"same", TeacherInput::kSame}, {"plain", TeacherInput::kPlain}},
               "what a teacher sees where an augmentation mixes images: the student's, or each before it was mixed "
               "(scheme mixup_kd also mixes the answers)")
          .def("same");
      s.field("stop_epoch", &Params::stop_epoch,
              "from this epoch on, losses that need a teacher are left out (ESKD: Cho and Hariharan, ICCV 2019); 0: "
              "never")
          .def(0.0)
          .at_least(0);
    }
  };

  static kd::Roles roles() { return {.fewest_teachers = 1, .most_teachers = kd::Roles::kAnyNumber}; }

  explicit VanillaKd(const Params& params) : params_(params) {}

  void setup(kd::StageContext& context) override {
    teachers_.emplace(context);
    objective_.emplace(params_.losses, context, *context.networks().front());
    if (params_.stop_epoch > 0 && !objective_->losses().any_without_teachers()) {
      throw kd::RecipeError("with stop_epoch, vanilla_kd wants a loss that needs no teacher");
    }
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    const bool taught = params_.stop_epoch == 0 || updater.time().epoch() < params_.stop_epoch;
    objective_->step(batch, taught ? answers(batch) : std::vector<kd::Outputs>{}, updater);
  }

  bool recordable() const override {
    return params_.stop_epoch == std::floor(params_.stop_epoch) && objective_->losses().recordable();
  }

 private:
  std::vector<kd::Outputs> answers(const kd::Batch& batch) const {
    const bool plain = params_.teacher_input == TeacherInput::kPlain && batch.plain_images.defined();
    const kd::TapRequest& taps = objective_->needs().teacher_taps;
    return plain ? teachers_->forward(batch.plain_images, taps) : teachers_->outputs(batch, taps);
  }

  const Params params_;
  std::optional<kd::Teachers> teachers_;
  std::optional<kd::Objective> objective_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "vanilla_kd", VanillaKd,
            "a student learns from labels and frozen teachers (Hinton et al., 2015)")
