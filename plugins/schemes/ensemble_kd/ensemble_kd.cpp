// One student learns from an ensemble of teachers, whose soft targets are put together in one of several ways.
//
// With a common temperature T, teachers' soft targets q_m, weights w_m that sum to 1 and the student's p, the gradient
// of T²·Σ w_m·KL(q_m‖p) by the logits is T·(p − Σ w_m·q_m): the mean of the losses and the loss of the mean softmax
// train alike, and the sum of M losses is M times as strong.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logical_or.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <optional>

#include "../shared/lessons.h"
#include "../shared/passes.h"
#include "../shared/teacher_panel.h"
#include "kd/plugin.h"
#include "kd/scheme.h"

namespace {

enum class Combine { kAddLoss, kAverageLoss, kAverageSoftmax, kAverageLogits };
enum class Weighting { kTeachers, kConfidence, kCorrectness };

/// The probability of each teacher's label, M×N, and 1 for rows without a label.
at::Tensor label_probability(const at::Tensor& probabilities, const kd::Targets& targets) {
  const auto at_label = [&](const at::Tensor& labels) {
    const at::Tensor index = labels.clamp_min(0).view({1, -1, 1}).expand({probabilities.size(0), -1, 1});
    return at::gather(probabilities, 2, index).squeeze(2);
  };
  const at::Tensor first = at_label(targets.labels);
  if (!targets.mixed()) return first.masked_fill(targets.labels < 0, 1);
  const at::Tensor unlabelled = at::logical_or(targets.labels < 0, targets.partner < 0);
  return at::lerp(at_label(targets.partner), first, targets.weight).masked_fill(unlabelled, 1);
}

class EnsembleKd final : public kd::Scheme {
 public:
  struct Params {
    Combine combine = Combine::kAverageSoftmax;
    Weighting weighting = Weighting::kTeachers;
    kd::Scheduled temperature, hard_weight, soft_weight;
    std::vector<kd::ComponentSpec> losses;

    static void schema(kd::Schema<Params>& s) {
      s.choice("combine", &Params::combine,
               {{"add_loss", Combine::kAddLoss},
                {"average_loss", Combine::kAverageLoss},
                {"average_softmax", Combine::kAverageSoftmax},
                {"average_logits", Combine::kAverageLogits},
                {"geometric_mean", Combine::kAverageLogits}},
               "the sum of the teachers' losses (with weights, M times their mean); their mean; the loss of the mean "
               "softmax, which trains as the mean of the losses does; the loss of the mean logits; or of the "
               "normalised geometric mean of the softmaxes, which is the softmax of the mean logits")
          .def("average_softmax");
      s.choice("weighting", &Params::weighting,
               {{"teachers", Weighting::kTeachers},
                {"confidence", Weighting::kConfidence},
                {"correctness", Weighting::kCorrectness}},
               "a teacher's weight in a sample: as the stage gives it; times its largest probability; or times its "
               "probability of the label, where there is one. Probabilities are those at temperature 1")
          .def("teachers");
      s.field("temperature", &Params::temperature,
              "T; divides the logits of student and teachers, and the loss has the factor T²: a number or a schedule")
          .def(4.0)
          .above(0);
      s.field("hard_weight", &Params::hard_weight, "of the cross-entropy with the labels: a number or a schedule")
          .def(0.2);
      s.field("soft_weight", &Params::soft_weight, "of the soft targets: a number or a schedule").def(0.8);
      s.components("losses", &Params::losses, "loss",
                   "further losses; one that needs a teacher is the mean over the teachers by the stage's weights")
          .with(kd::LossList::extras())
          .def_toml("[]");
    }
  };

  static kd::Roles roles() { return {.fewest_teachers = 1, .most_teachers = lessons::kAnyNumber}; }

  explicit EnsembleKd(const Params& params)
      : params_(params),
        temperature_(params.temperature),
        hard_weight_(params.hard_weight),
        soft_weight_(params.soft_weight) {}

  void setup(kd::StageContext& context) override {
    hard_loss_ = kd::make<kd::Loss>("{ type = 'cross_entropy' }", context.loss_context());
    student_ = context.networks().front();
    teachers_.emplace(context.teachers());
    lessons_.emplace(lessons::part(params_.losses, context.loss_context()), teachers_->shares(), context, *student_);
    needs_ = lessons_->needs();
    context.require(needs_, *student_);
  }

  void step(const kd::Batch& batch, kd::Updater& updater) override {
    const std::vector<kd::Outputs> teachers = teachers_->outputs(batch, needs_.teacher_taps);
    const kd::Pass pass = kd::forward(*student_, needs_, batch);
    const kd::LossInput input = passes::input(pass, batch, updater.time());
    lessons::Terms terms;
    const double hard = hard_weight_.at(input.time), soft = soft_weight_.at(input.time);
    if (hard != 0) terms.push_back({"cross_entropy", (*hard_loss_)(input), hard, hard_loss_->labelled_rows_only()});
    if (soft != 0) terms.push_back({"ensemble", soft_loss(input, teachers), soft});
    for (kd::Term& term : lessons_->on_labels(input)) terms.push_back(std::move(term));
    for (kd::Term& term : lessons_->from_tutors(input, teachers)) terms.push_back(std::move(term));
    updater.update(*student_, terms, {.logits = pass.outputs.logits, .targets = batch.targets});
  }

 private:
  at::Tensor soft_loss(const kd::LossInput& input, const std::vector<kd::Outputs>& teachers) const {
    const double temperature = temperature_.at(input.time);
    std::vector<at::Tensor> each;
    for (const kd::Outputs& teacher : teachers) each.push_back(teacher.logits.detach());
    const at::Tensor logits = at::stack(each);
    const at::Tensor log_weights = log_sample_weights(logits, input.targets).unsqueeze(2);
    const at::Tensor log_p = at::log_softmax(input.student.logits / temperature, 1);
    const auto divergence = [&](const at::Tensor& log_q) { return (log_q.exp() * (log_q - log_p)).sum(-1); };
    const auto mean = [&](const at::Tensor& rows) { return rows.mean() * (temperature * temperature); };

    if (params_.combine == Combine::kAverageLogits) {
      return mean(divergence(at::log_softmax((logits * log_weights.exp()).sum(0) / temperature, 1)));
    }
    const at::Tensor log_q = at::log_softmax(logits / temperature, 2);
    if (params_.combine == Combine::kAverageSoftmax) {
      return mean(divergence(at::logsumexp(log_q + log_weights, at::IntArrayRef{0})));
    }
    const at::Tensor average = mean((divergence(log_q) * log_weights.exp().squeeze(2)).sum(0));
    return params_.combine == Combine::kAddLoss ? average * static_cast<double>(teachers.size()) : average;
  }

  /// Logarithms of the weights of each teacher in each sample, M×N; the weights of a sample sum to 1.
  at::Tensor log_sample_weights(const at::Tensor& logits, const kd::Targets& targets) const {
    constexpr double kLeastProbability = 1e-30;
    std::vector<at::Tensor> shares;
    for (const double share : teachers_->shares()) {
      shares.push_back(at::full({logits.size(1)}, std::log(share), logits.options()));
    }
    const at::Tensor log_shares = at::stack(shares);
    if (params_.weighting == Weighting::kTeachers) return log_shares;
    const at::Tensor probabilities = at::softmax(logits, 2);
    const at::Tensor merit =
        params_.weighting == Weighting::kConfidence ? probabilities.amax(2) : label_probability(probabilities, targets);
    return at::log_softmax(log_shares + merit.clamp_min(kLeastProbability).log(), 0);
  }

  const Params params_;
  const kd::ScheduledValue temperature_, hard_weight_, soft_weight_;
  std::unique_ptr<kd::Loss> hard_loss_;
  kd::Network* student_ = nullptr;
  std::optional<panel::TeacherPanel> teachers_;
  std::optional<lessons::Lessons> lessons_;
  kd::LossNeeds needs_;
};

}  // namespace

KD_REGISTER(kd::Scheme, "ensemble_kd", EnsembleKd, "a student learns from an ensemble of frozen teachers")
