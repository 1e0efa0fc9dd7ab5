// Entropy of the student's own predictions: Pereyra, Tucker, Chorowski, Kaiser and Hinton, "Regularizing Neural
// Networks by Penalizing Confident Output Distributions", arXiv 1701.06548.
//   losses = [{ type = "confidence_penalty" }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

class ConfidencePenalty final : public kd::Loss {
 public:
  struct Params {
    double threshold = 0;

    static void schema(kd::Schema<Params>& s) {
      s.field(
           "threshold", &Params::threshold,
           "Γ, in nats: the value is max(0, Γ − H) of each sample, so that only predictions of a smaller entropy H are "
           "penalised; left out, it is −H")
          .optional()
          .above(0);
    }
  };

  explicit ConfidencePenalty(const Params& params) : params_(params) {}

  bool recordable() const override { return true; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const at::Tensor log_p = at::log_softmax(kd::precise(input.student.logits), 1);
    const at::Tensor less_entropy = (log_p.exp() * log_p).sum(1);
    if (params_.threshold == 0) return less_entropy.mean();
    return (less_entropy + params_.threshold).clamp_min(0).mean();
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "confidence_penalty", ConfidencePenalty,
            "minus the entropy H of the student's predictions, in nats; its weight is the paper's β, usually 0.1 "
            "(Pereyra et al., 2017)")
