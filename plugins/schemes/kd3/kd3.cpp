// Distillation from images of other sources, without the teacher's data or any label: Tang, Li, Zhang, Li, Wang and
// Zhang, "Distribution Shift Matters for Knowledge Distillation with Webly Collected Images" (KD³), ICCV 2023,
// arXiv 2307.11469. Its equations are not at hand; recipes/web_images/README.md says how each part is read here.
//   scheme = { type = "kd3", keep = 0.5, alignment = 1.0, contrast = 0.1 }
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/var_mean.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "kd/features.h"
#include "kd/plugin.h"
#include "kd/random_tensors.h"
#include "kd/scheme.h"

namespace {

/// The largest probability that teacher and student together give a class, for each row.
at::Tensor confidences(const at::Tensor& teacher, const at::Tensor& student) {
  const at::Tensor together = kd::precise(teacher).softmax(1) + kd::precise(student).detach().softmax(1);
  return std::get<0>((together / 2).max(1));
}

/// Images with means and deviations of each channel moved to those of a partner, by a random way: (1 − w) of its own
/// and w of the partner's.
at::Tensor shifted(const at::Tensor& images, const at::Tensor& partners, const at::Tensor& way) {
  constexpr double kLeastVariance = 1e-6;
  const auto [variance, mean] = at::var_mean(images, at::IntArrayRef{2, 3}, /*correction=*/0, /*keepdim=*/true);
  const at::Tensor deviation = (variance + kLeastVariance).sqrt();
  const at::Tensor weight = way.view({-1, 1, 1, 1});
  const at::Tensor new_mean = at::lerp(mean, mean.index_select(0, partners), weight);
  const at::Tensor new_deviation = at::lerp(deviation, deviation.index_select(0, partners), weight);
  return (images - mean) / deviation * new_deviation + new_mean;
}

/// Cross-entropy of finding each row's counterpart among all of `others` by the cosine of their angle.
at::Tensor contrast(const at::Tensor& rows, const at::Tensor& others, double temperature) {
  const kd::WithoutAutocast exact(rows.device());
  const at::Tensor similarity =
      at::matmul(kd::unit_rows(kd::precise(rows)), kd::unit_rows(kd::precise(others)).t()) / temperature;
  return at::cross_entropy_loss(similarity,
                                at::arange(rows.size(0), at::TensorOptions().dtype(at::kLong).device(rows.device())));
}

class Kd3 final : public kd::Scheme {
 public:
  struct Params {
    std::vector<kd::ComponentSpec> losses;
    std::string feature = "pooled", teacher_feature = "pooled";
    double keep = 0.5, alignment = 1, contrast = 0.1, contrast_temperature = 0.1, shift = 0.1;

    static void schema(kd::Schema<Params>& s) {
      s.components("losses", &Params::losses, "loss", "on the rows of each batch that are kept, in place of labels")
          .with(kd::LossList::extras())
          .def_toml("[{ type = 'kd', temperature = 4 }]");
      s.field("keep", &Params::keep,
              "share of each batch that is learned from: the rows of whose class teacher and student together are most "
              "certain")
          .def(0.5)
          .above(0)
          .at_most(1);
      s.field("alignment", &Params::alignment,
              "weight of the squared distance between the features, each row weighed by that certainty; 0: none")
          .def(1.0)
          .at_least(0);
      s.field("feature", &Params::feature, "the student's, as wide as the teacher's: model \"reused_classifier\"")
          .def("pooled");
      s.field("teacher_feature", &Params::teacher_feature, "the teacher's").def("pooled");
      s.field("contrast", &Params::contrast,
              "weight of the contrast between images and their copies of a shifted distribution (MixDistribution); 0: "
              "none")
          .def(0.1)
          .at_least(0);
      s.field("contrast_temperature", &Params::contrast_temperature, "what cosines are divided by").def(0.1).above(0);
      s.field("shift", &Params::shift, "copies take w of a partner's means and deviations, w of Beta(shift, shift)")
          .def(0.1)
          .above(0);
    }
  };

  static kd::Roles roles() { return {.fewest_teachers = 1, .most_teachers = 1}; }

  explicit Kd3(const Params& params) : params_(params) {}

  void setup(kd::StageContext& context) override {
    if (context.group().size() > 1) throw kd::RecipeError("kd3 chooses among the rows of one process; train it in one");
    teachers_.emplace(context);
    objective_.emplace(params_.losses, context, *context.networks().front());
    if (params_.alignment > 0) require_equal_features(context);
    needs_ = kd::merged(objective_->needs(), extra_needs());
    context.require(needs_, objective_->network());
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    const kd::Pass pass = kd::forward(objective_->network(), needs_, batch);
    const kd::Outputs answer =
        kd::detached(teachers_->outputs(batch, needs_.teacher_taps).front(), needs_.teacher_taps);
    const at::Tensor confidence = confidences(answer.logits, pass.outputs.logits);
    const auto count = std::max<std::int64_t>(1, std::llround(params_.keep * static_cast<double>(batch.size())));
    const at::Tensor rows = std::get<1>(confidence.topk(count));
    const kd::Batch kept = chosen(batch, rows);
    const kd::Pass kept_pass{chosen(pass.outputs, needs_.student_taps, rows), {}};
    const std::vector<kd::Outputs> kept_answers{chosen(answer, needs_.teacher_taps, rows)};
    std::vector<kd::Term> terms = objective_->losses()(kd::loss_input(kept_pass, kept, kept_answers, updater));
    if (params_.alignment > 0) {
      const at::Tensor distance = (kd::precise(kept_pass.outputs.taps.at(params_.feature)) -
                                   kd::precise(kept_answers.front().taps.at(params_.teacher_feature)))
                                      .square()
                                      .flatten(1)
                                      .mean(1);
      const at::Tensor weight = confidence.index_select(0, rows);
      terms.push_back({.name = "alignment",
                       .value = (distance * weight).sum() / weight.sum(),
                       .weight = params_.alignment,
                       .from_teachers = true});
    }
    if (params_.contrast > 0) terms.push_back({"contrast", contrast_of(kept, kept_pass, updater), params_.contrast});
    updater.update(objective_->network(), terms, {.logits = pass.outputs.logits, .targets = batch.targets});
  }

 private:
  kd::LossNeeds extra_needs() const {
    kd::LossNeeds needs;
    if (params_.alignment > 0 || params_.contrast > 0) needs.student_taps = {params_.feature};
    if (params_.alignment > 0) {
      needs.teacher = true;
      needs.teacher_taps = {params_.teacher_feature};
    }
    return needs;
  }

  void require_equal_features(kd::StageContext& context) const {
    const auto& student = kd::shape_of(context.shapes(objective_->network()), params_.feature, "student");
    const auto& teacher = kd::shape_of(teachers_->infos().front().taps, params_.teacher_feature, "teacher");
    if (student == teacher) return;
    throw kd::RecipeError({},
                          "kd3 aligns '" + params_.feature + "' of the student, which has " +
                              std::to_string(student[0]) + " channels, with '" + params_.teacher_feature +
                              "' of the teacher, which has " + std::to_string(teacher[0]),
                          "model = { type = \"reused_classifier\", … } gives a student of the teacher's width; or "
                          "alignment = 0");
  }

  static kd::Batch chosen(const kd::Batch& batch, const at::Tensor& rows) {
    kd::Batch some;
    some.images = batch.images.index_select(0, rows);
    some.targets.labels = batch.targets.labels.index_select(0, rows);
    some.index = batch.index.index_select(0, rows);
    return some;
  }

  static kd::Outputs chosen(const kd::Outputs& outputs, const kd::TapRequest& taps, const at::Tensor& rows) {
    kd::Outputs some{
        .logits = outputs.logits.index_select(0, rows), .taps = kd::Taps(taps), .network = outputs.network};
    for (const std::string& tap : taps) some.taps.offer(tap, outputs.taps.at(tap).index_select(0, rows));
    return some;
  }

  at::Tensor contrast_of(const kd::Batch& kept, const kd::Pass& pass, const kd::Updater& updater) const {
    const kd::RandomKey key = updater.key().with("kd3");
    const at::Tensor partners = kd::random_permutation(key.with("partners"), kept.index);
    const at::Tensor way = kd::random_beta(key.with("way"), kept.index, params_.shift, params_.shift);
    const kd::Outputs copies = objective_->network().forward(
        shifted(kept.images, partners, way.to(kept.images.scalar_type())), {params_.feature});
    return contrast(kd::flat(pass.outputs.taps.at(params_.feature)), kd::flat(copies.taps.at(params_.feature)),
                    params_.contrast_temperature);
  }

  const Params params_;
  kd::LossNeeds needs_;
  std::optional<kd::Teachers> teachers_;
  std::optional<kd::Objective> objective_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "kd3", Kd3,
            "a student learns from a teacher on images of other sources (KD³, Tang et al., 2023)")
