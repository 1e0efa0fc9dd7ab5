// Soft targets of an ensemble of teachers, put together in one of several ways.
//
// With a common temperature T, teachers' soft targets q_m, weights w_m that sum to 1 and the student's p, the gradient
// of T²·Σ w_m·KL(q_m‖p) by the logits is T·(p − Σ w_m·q_m): the mean of the losses and the loss of the mean softmax
// train alike, and the sum of M losses is M times as strong.
//   losses = [{ type = "ensemble", combine = "average_softmax", weighting = "teachers", temperature = 4.0 }]
#include <cmath>

#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

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
  return at::lerp(at_label(targets.partner), first, targets.weight.to(first.scalar_type())).masked_fill(unlabelled, 1);
}

class EnsembleLoss final : public kd::Loss {
 public:
  struct Params {
    Combine combine = Combine::kAverageSoftmax;
    Weighting weighting = Weighting::kTeachers;
    kd::Scheduled temperature;

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
    }
  };

  EnsembleLoss(const Params& params, const Context& context) : params_(params), temperature_(params.temperature) {
    for (const kd::TeacherInfo& teacher : context.teachers) shares_.push_back(teacher.share);
  }

  kd::LossNeeds needs() const override { return {.teacher = true, .teachers_together = true}; }
  bool recordable() const override { return temperature_.constant(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const double temperature = temperature_.at(input.time);
    const at::Tensor student = kd::precise(input.student.logits);
    std::vector<at::Tensor> each;
    for (const kd::Outputs& teacher : input.teachers) each.push_back(teacher.logits.detach().to(student.scalar_type()));
    const at::Tensor logits = at::stack(each);
    const at::Tensor log_weights = log_sample_weights(logits, input.batch.targets).unsqueeze(2);
    const at::Tensor log_p = kd::log_softmax_at(student, temperature);
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
    return params_.combine == Combine::kAddLoss ? average * static_cast<double>(each.size()) : average;
  }

 private:
  /// Logarithms of the weights of each teacher in each sample, M×N; the weights of a sample sum to 1.
  at::Tensor log_sample_weights(const at::Tensor& logits, const kd::Targets& targets) const {
    constexpr double kLeastProbability = 1e-30;
    std::vector<at::Tensor> shares;
    for (const double share : shares_) shares.push_back(at::full({logits.size(1)}, std::log(share), logits.options()));
    const at::Tensor log_shares = at::stack(shares);
    if (params_.weighting == Weighting::kTeachers) return log_shares;
    const at::Tensor probabilities = at::softmax(logits, 2);
    const at::Tensor merit =
        params_.weighting == Weighting::kConfidence ? probabilities.amax(2) : label_probability(probabilities, targets);
    return at::log_softmax(log_shares + merit.clamp_min(kLeastProbability).log(), 0);
  }

  const Params params_;
  const kd::ScheduledValue temperature_;
  std::vector<double> shares_;
};

}  // namespace

KD_REGISTER(kd::Loss, "ensemble", EnsembleLoss, "soft targets of an ensemble of teachers, put together in several ways")
