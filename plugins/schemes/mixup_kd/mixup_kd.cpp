// Distillation on mixed images where the rows of each pair are known, so that a teacher that sees only unmixed images
// can answer for the mixed ones. Partial mixup and its roles: Choi et al., WACV 2023, arXiv 2211.03946.
//   scheme = { type = "mixup_kd", mix = { type = "mixup", alpha = 1.0 }, layout = "doubled" }
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/ones_like.h>

#include <optional>

#include "kd/augmentation.h"
#include "kd/plugin.h"
#include "kd/scheme.h"

namespace {

enum class Layout { kDoubled, kMixed };
enum class TeacherInput { kPlain, kMixed };

/// A batch whose images are mixed, with the row of each image's partner among those of all processes.
struct MixedBatch {
  kd::Batch batch;
  at::Tensor partner_rows;  ///< int64, N
};

/// The labels of both are one image's and its partner's.
kd::Targets joined(const kd::Targets& plain, const kd::Targets& mixed) {
  return {.labels = at::cat({plain.labels, mixed.labels}),
          .partner = at::cat({plain.labels, mixed.partner}),
          .weight = at::cat({at::ones_like(mixed.weight), mixed.weight})};
}

class MixupKd final : public kd::Scheme {
 public:
  struct Params {
    kd::ComponentSpec mix;
    Layout layout = Layout::kDoubled;
    TeacherInput teacher_input = TeacherInput::kPlain;
    double original_weight = 0.5;
    std::vector<kd::ComponentSpec> losses;

    static void schema(kd::Schema<Params>& s) {
      s.component("mix", &Params::mix, "augmentation",
                  "mixes the images, after the stage's own augmentations; with per = 'sample' and share = 0.1 the "
                  "partial mixup of MIX-KD")
          .def_toml("{ type = 'mixup', alpha = 1.0 }");
      s.choice("layout", &Params::layout, {{"doubled", Layout::kDoubled}, {"mixed", Layout::kMixed}},
               "what the student sees: the batch and after it the mixed batch, twice as many rows; or the mixed batch")
          .def("doubled");
      s.choice("teacher_input", &Params::teacher_input,
               {{"plain", TeacherInput::kPlain}, {"mixed", TeacherInput::kMixed}},
               "what the teacher sees: unmixed images only, and its logits are mixed as the images are; or the "
               "student's images (MIX-KD)")
          .def("plain");
      s.field("original_weight", &Params::original_weight,
              "with layout = 'doubled': share of the unmixed half in losses that need no teacher; the mixed half has "
              "the rest. Losses that need one take the mean over all rows")
          .def(0.5)
          .range(0, 1);
      s.components("losses", &Params::losses, "loss", "the objective is the weighted sum of these")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'cross_entropy', weight = 0.1 }, { type = 'kd', temperature = 4, weight = 0.9 }]");
    }
  };

  static kd::Roles roles() { return {.fewest_teachers = 1, .most_teachers = kd::Roles::kAnyNumber}; }

  explicit MixupKd(const Params& params) : params_(params) {}

  void setup(kd::StageContext& context) override {
    mix_ = kd::make<kd::Augmentation>(params_.mix, {.data = context.data()});
    const at::Tensor one = at::arange(1);
    if (!mix_->mixes() || mix_->extra_samples(one, one, {}).defined()) {
      throw kd::RecipeError("mixup_kd: 'mix' wants an augmentation that mixes samples of one batch, such as mixup");
    }
    kd::Network& student = *context.networks().front();
    group_ = &context.group();
    teachers_.emplace(context);
    objective_.emplace(params_.losses, context, student);
    refuse_losses(objective_->needs());
    // The stage's own augmentations must leave one label to each image.
    context.require({.one_label = true}, student);
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    const MixedBatch mixed = mix(batch, updater.epoch_key());
    const bool doubled = params_.layout == Layout::kDoubled;
    kd::Batch seen = mixed.batch;
    if (doubled) {
      seen.images = at::cat({batch.images, mixed.batch.images});
      seen.targets = joined(batch.targets, mixed.batch.targets);
      seen.index = at::cat({batch.index, batch.index});
    }
    const kd::Pass pass = kd::forward(objective_->network(), objective_->needs(), seen);
    const std::vector<kd::Outputs> teachers = answers(batch, mixed, seen.images);
    const kd::LossInput input = kd::loss_input(pass, seen, teachers, updater);
    std::vector<kd::Term> terms;
    if (doubled) {
      terms = on_labels_of_halves(pass, batch, mixed, updater);
      kd::add_share(terms, objective_->losses().from_teachers(input), 1);
    } else {
      terms = objective_->losses()(input);
    }
    // Of the doubled layout, the unmixed half is what an accuracy says most about.
    const kd::Targets& counted = doubled ? batch.targets : seen.targets;
    updater.update(objective_->network(), terms,
                   {.logits = pass.outputs.logits.narrow(0, 0, batch.size()), .targets = counted});
  }

  bool recordable() const override { return objective_->losses().recordable(); }

 private:
  void refuse_losses(const kd::LossNeeds& needs) const {
    if (!needs.views.empty()) throw kd::RecipeError("mixup_kd takes no loss that wants an extra view");
    if (needs.one_label) throw kd::RecipeError("mixup_kd takes no loss that wants one label per image");
    if (params_.teacher_input == TeacherInput::kPlain && !needs.teacher_taps.empty()) {
      throw kd::RecipeError(
          "mixup_kd: with teacher_input = \"plain\" a teacher has logits for the mixed images, and no "
          "feature '" +
          needs.teacher_taps.front() + "'");
    }
  }

  MixedBatch mix(const kd::Batch& batch, kd::RandomKey key) const {
    MixedBatch mixed{batch, {}};
    kd::Batch& all = mixed.batch;  // of every process: a partner may be with another
    const at::Tensor labels = group_->gather(batch.targets.labels);
    all.images = group_->gather(batch.images);
    // Counters that draws are looked up by must stay the batch's own.
    if (group_->size() > 1) all.index = group_->gather(batch.index);
    // Rows in place of labels: the augmentation then says which row each is mixed with.
    all.targets = {.labels = at::arange(all.size(), batch.index.options()), .partner = {}, .weight = {}};
    mix_->apply(all, key);
    const std::int64_t first = first_row(batch);
    const auto own = [&](const at::Tensor& rows) { return rows.narrow(0, first, batch.size()); };
    all.change_images(own);
    all.index = batch.index;
    mixed.partner_rows = own(all.targets.partner);
    all.targets = {.labels = batch.targets.labels,
                   .partner = labels.index_select(0, mixed.partner_rows),
                   .weight = own(all.targets.weight)};
    return mixed;
  }

  /// Of this process among the rows of all.
  std::int64_t first_row(const kd::Batch& batch) const {
    if (group_->size() == 1) return 0;
    const at::Tensor counts = group_->gather(at::full({1}, batch.size(), at::TensorOptions().dtype(at::kLong)));
    return counts.narrow(0, 0, group_->rank()).sum().item<std::int64_t>();
  }

  std::vector<kd::Term> on_labels_of_halves(const kd::Pass& pass, const kd::Batch& batch, const MixedBatch& mixed,
                                            const kd::Updater& updater) const {
    std::vector<kd::Term> terms;
    const auto add_half = [&](const kd::Batch& half, std::int64_t begin, double share) {
      if (share == 0) return;
      const kd::TapRequest& taps = objective_->needs().student_taps;
      const kd::Pass rows{kd::rows_of(pass.outputs, taps, begin, half.size()), {}};
      kd::add_share(terms, objective_->losses()(kd::loss_input(rows, half, {}, updater)), share);
    };
    add_half(batch, 0, params_.original_weight);
    add_half(mixed.batch, batch.size(), 1 - params_.original_weight);
    return terms;
  }

  /// The teachers' outputs for the rows that the student sees.
  std::vector<kd::Outputs> answers(const kd::Batch& batch, const MixedBatch& mixed, const at::Tensor& seen) const {
    if (params_.teacher_input == TeacherInput::kMixed)
      return teachers_->forward(seen, objective_->needs().teacher_taps);
    std::vector<kd::Outputs> answers = teachers_->outputs(batch, {});
    for (kd::Outputs& answer : answers) {
      const at::Tensor partners = group_->gather(answer.logits).index_select(0, mixed.partner_rows);
      const at::Tensor of_mixed = at::lerp(partners, answer.logits, mixed.batch.targets.weight.unsqueeze(1));
      answer.logits = params_.layout == Layout::kDoubled ? at::cat({answer.logits, of_mixed}) : of_mixed;
    }
    return answers;
  }

  const Params params_;
  kd::Group* group_ = nullptr;
  std::unique_ptr<kd::Augmentation> mix_;
  std::optional<kd::Teachers> teachers_;
  std::optional<kd::Objective> objective_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "mixup_kd", MixupKd,
            "a student learns from mixed images; its teacher may see the unmixed ones (Choi et al., 2023)")
