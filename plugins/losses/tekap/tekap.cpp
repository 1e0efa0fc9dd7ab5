// Several teachers of one: "TeKAP", teacher knowledge augmentation via perturbation (2025). Each of M views of the
// teacher is its logits mixed with Gaussian noise, (1 − σ)·z + σ·ε: λ·T²·KL of the teacher itself and (1 − λ) times the
// mean of its views'. The paper's text was not at hand: the mixture with σ = 0.1 follows a public implementation's
// 0.9·z + 0.1·ε, and λ is a choice made here.
//   losses = [{ type = "cross_entropy" }, { type = "tekap", weight = 0.9, views = 3, noise = 0.1 }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"
#include "kd/temperature.h"
#include "kd/tensor.h"

namespace {

class PerturbedTeacher final : public kd::Loss {
 public:
  static constexpr kd::Published kPublished{.paper = "TeKAP, 2025; the form here is not verified", .weight = "0.9"};

  struct Params : kd::TemperatureParams {
    double noise = 0.1, share = 0.5;
    std::int64_t views = 3;

    static void schema(kd::Schema<Params>& s) {
      kd::declare_temperature(s).def(4.0);
      s.field("views", &Params::views, "M: perturbed teachers").def(3).at_least(1);
      s.field("noise", &Params::noise, "σ: share of the noise in a view").def(0.1).range(0, 1);
      s.field("share", &Params::share, "λ: share of the teacher as it is").def(0.5).range(0, 1);
    }
  };

  explicit PerturbedTeacher(const Params& params) : params_(params), temperature_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const std::int64_t views = params_.views, rows = teacher.size(0);
    // One draw for all views: what a view gets depends on the sample and on its number alone. views×N×classes
    const at::Tensor noise = kd::random_normal(input.key.with("noise"), input.batch.index, views * teacher.size(1))
                                 .to(teacher.scalar_type())
                                 .view({rows, views, -1})
                                 .transpose(0, 1);
    const at::Tensor noisy = teacher * (1 - params_.noise) + noise * params_.noise;
    const at::Tensor teachers = at::cat({teacher.unsqueeze(0), noisy}).flatten(0, 1);
    const kd::Softened z = temperature_.at({student.repeat({views + 1, 1}), teachers}, input.time);
    const at::Tensor each = z.weighted(kd::row_divergences(z.log_teacher(), z.log_student())).view({views + 1, rows});
    return each.select(0, 0).mean() * params_.share + each.narrow(0, 1, views).mean() * (1 - params_.share);
  }

 private:
  const Params params_;
  const kd::Temperature temperature_;
};

}  // namespace

KD_REGISTER(kd::Loss, "tekap", PerturbedTeacher, "soft targets of a teacher and of noisy views of it (TeKAP)")
