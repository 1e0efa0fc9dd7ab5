// Boundary supporting samples: images that an attack on the teacher brings to its decision boundary are shown to the
// student, with the teacher's answer there (Heo, Lee, Yun and Choi, "Knowledge Distillation with Adversarial Samples
// Supporting Decision Boundary", AAAI 2019, arXiv 1805.05532). Steps and weights are those of the authors' code.
//   scheme = { type = "bss", samples = 64, boundary_weight = { type = "linear", from = 2, to = 0, epochs = 60 } }
#include <algorithm>
#include <optional>

#include "../shared/adversarial.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"
#include "kd/scheme.h"

namespace {

/// Rows of a batch, K of them; `counts`, K, is 1 for those that count and 0 for repetitions.
struct Bases {
  at::Tensor rows, counts;
};

/// The rows that both networks classify correctly, at most `most`: of more, those whose probabilities of the wrong
/// classes differ most. Their number is not known to the host, so there are always as many slots; those left over
/// repeat the rows that were chosen, so that batch norm sees no others, and do not count.
Bases choose_bases(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& labels, std::int64_t most) {
  const at::Tensor correct = at::logical_and(student.argmax(1) == labels, teacher.argmax(1) == labels);
  const at::Tensor difference = (at::softmax(teacher, 1) - at::softmax(student, 1)).square();
  const at::Tensor gap = difference.sum(1) - kd::at_label(difference, labels);
  const at::Tensor ranked = std::get<1>(gap.masked_fill(~correct, -1).sort(/*stable=*/true, 0, /*descending=*/true));
  const std::int64_t slots = std::min(most, labels.size(0));
  const at::Tensor slot = at::arange(slots, labels.options()), count = correct.sum();
  const at::Tensor cycle = at::where(count > 0, count, labels.size(0));
  return {ranked.index_select(0, slot.remainder(cycle)), (slot < count).to(at::kFloat)};
}

class Bss final : public kd::Scheme {
 public:
  struct Params {
    std::vector<kd::ComponentSpec> losses;
    kd::Scheduled boundary_weight;
    double temperature = 3;
    std::int64_t samples = 64, steps = 10;
    double step = 0.3, clip = 2.5;

    static void schema(kd::Schema<Params>& s) {
      s.components("losses", &Params::losses, "loss", "on the batch itself; the objective is their weighted sum")
          .with(kd::LossList::extras())
          .def_toml(
              "[{ type = 'cross_entropy' }, { type = 'kd', temperature = 3.0, form = 'cross_entropy', scale = 'none', "
              "weight = { type = 'linear', from = 4.0, to = 1.0, each = 'epoch' } }]");
      s.field("boundary_weight", &Params::boundary_weight,
              "factor of the cross entropy with the teacher's answer on attacked images: a number or a schedule; no "
              "image is attacked where it is 0. Published: zero after three quarters of 80 epochs")
          .def_toml("{ type = 'linear', from = 2.0, to = 0.0, epochs = 60, each = 'epoch' }");
      s.field("temperature", &Params::temperature, "of that cross entropy, which has no factor T²").def(3.0).above(0);
      s.field("samples", &Params::samples,
              "at most as many images of a batch are attacked: those that both networks classify correctly and answer "
              "most differently; several processes have equal shares")
          .def(64)
          .at_least(1);
      s.field("steps", &Params::steps, "of the attack").def(10).at_least(1);
      s.field("step", &Params::step,
              "length of a step for a margin of 1 between the logits of an image's own class and the target, in the "
              "units of the images, normalised as a rule")
          .def(0.3)
          .above(0);
      s.field("clip", &Params::clip, "attacked images stay within ± this, in the same units; 0: anywhere")
          .def(2.5)
          .at_least(0);
    }
  };

  static kd::Roles roles() { return {.fewest_teachers = 1, .most_teachers = 1}; }

  explicit Bss(const Params& params) : params_(params), boundary_weight_(params.boundary_weight) {}

  void setup(kd::StageContext& context) override {
    teachers_.emplace(context);
    teacher_ = context.teachers().front();
    kd::Network& student = *context.networks().front();
    objective_.emplace(params_.losses, context, student);
    // Which images both networks classify correctly is a question of one label, and of a teacher.
    context.require({.teacher = true, .one_label = true}, student);
    const std::int64_t processes = context.group().size();
    most_ = (params_.samples + processes - 1) / processes;
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    const kd::Pass pass = kd::forward(objective_->network(), objective_->needs(), batch);
    const std::vector<kd::Outputs> teachers = teachers_->outputs(batch, objective_->needs().teacher_taps);
    std::vector<kd::Term> terms = objective_->losses()(kd::loss_input(pass, batch, teachers, updater));
    const double weight = boundary_weight_.at(updater.time());
    if (weight != 0) {
      const at::Tensor value = boundary_loss(batch, pass.outputs.logits, teachers.front().logits, updater);
      terms.push_back({.name = "boundary", .value = value, .weight = weight, .from_teachers = true});
    }
    updater.update(objective_->network(), terms, {.logits = pass.outputs.logits, .targets = batch.targets});
  }

 private:
  /// Mean over the attacked images of H(q, p) at the temperature.
  at::Tensor boundary_loss(const kd::Batch& batch, const at::Tensor& student, const at::Tensor& teacher,
                           const kd::Updater& updater) const {
    const at::Tensor& labels = batch.targets.labels;
    const at::Tensor known = kd::precise(teacher.detach());
    const Bases bases = choose_bases(kd::precise(student.detach()), known, labels, most_);
    const auto of_bases = [&](const at::Tensor& all) { return all.index_select(0, bases.rows); };
    const at::Tensor draws =
        kd::random_uniform(updater.epoch_key().with("target class"), of_bases(batch.index), 1).squeeze(1);
    const at::Tensor target = adversarial::draw_wrong_class(of_bases(known), of_bases(labels), draws);
    const adversarial::LogitsOf logits_of = [&](const at::Tensor& images) {
      return teacher_->forward(images, {}, kd::Gradient::kToImages).logits;
    };
    const at::Tensor attacked =
        adversarial::move_to_boundary(logits_of, of_bases(batch.images), target,
                                      {.steps = params_.steps, .step = params_.step, .clip = params_.clip});
    const at::Tensor q = at::softmax(kd::precise(teacher_->forward(attacked).logits.detach()) / params_.temperature, 1);
    const at::Tensor log_p =
        kd::log_softmax_at(kd::precise(objective_->network().forward(attacked).logits), params_.temperature);
    const at::Tensor rows = -(q * log_p).sum(1);
    return (rows * bases.counts).sum() / bases.counts.sum().clamp_min(1);
  }

  const Params params_;
  const kd::ScheduledValue boundary_weight_;
  std::optional<kd::Teachers> teachers_;
  std::optional<kd::Objective> objective_;
  kd::Teacher* teacher_ = nullptr;
  std::int64_t most_ = 0;
};

}  // namespace

KD_REGISTER(kd::Scheme, "bss", Bss,
            "the teacher is attacked, and the student learns its answers at its decision boundary (Heo et al., 2019)")
