// Frozen teachers, one student, any list of weighted losses (Hinton, Vinyals and Dean, arXiv 1503.02531).
#include <optional>

#include "../shared/lessons.h"
#include "../shared/passes.h"
#include "../shared/teacher_panel.h"
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

  static kd::Roles roles() { return {.fewest_teachers = 1, .most_teachers = lessons::kAnyNumber}; }

  explicit VanillaKd(const Params& params) : params_(params) {}

  void setup(kd::StageContext& context) override {
    const lessons::Plan plan = lessons::part(params_.losses, context.loss_context());
    if (params_.stop_epoch > 0 && plan.on_labels.empty()) {
      throw kd::RecipeError("with stop_epoch, vanilla_kd wants a loss that needs no teacher");
    }
    student_ = context.networks().front();
    teachers_.emplace(context.teachers());
    lessons_.emplace(plan, teachers_->shares(), context, *student_);
    needs_ = lessons_->needs();
    context.require(needs_, *student_);
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    const kd::ScheduleTime time = updater.time();
    const kd::Pass pass = kd::forward(*student_, needs_, batch);
    const kd::LossInput input = passes::input(pass, batch, time);
    lessons::Terms terms = lessons_->on_labels(input);
    if (params_.stop_epoch == 0 || time.epoch() < params_.stop_epoch) {
      lessons::add_share(terms, lessons_->from_tutors(input, answers(batch)), 1);
    }
    updater.update(*student_, terms, {.logits = pass.outputs.logits, .targets = batch.targets});
  }

 private:
  std::vector<kd::Outputs> answers(const kd::Batch& batch) const {
    const bool plain = params_.teacher_input == TeacherInput::kPlain && batch.plain_images.defined();
    return plain ? teachers_->forward(batch.plain_images, needs_.teacher_taps)
                 : teachers_->outputs(batch, needs_.teacher_taps);
  }

  const Params params_;
  kd::Network* student_ = nullptr;
  std::optional<panel::TeacherPanel> teachers_;
  std::optional<lessons::Lessons> lessons_;
  kd::LossNeeds needs_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "vanilla_kd", VanillaKd,
            "a student learns from labels and frozen teachers (Hinton et al., 2015)")
