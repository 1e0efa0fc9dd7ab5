// Jensen–Shannon divergence of the softmaxes of student and teacher: Lin, "Divergence measures based on the Shannon
// entropy", 1991; the symmetric mimicry that Zhang et al., "Deep Mutual Learning", arXiv 1706.00384, compare with.
//   losses = [{ type = "js", temperature = 1.0 }]
#include <ATen/ops/logaddexp.h>

#include <numbers>

#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

class JensenShannonLoss final : public kd::Loss {
 public:
  struct Params {
    double temperature = 1;

    static void schema(kd::Schema<Params>& s) {
      s.field("temperature", &Params::temperature,
              "T; divides the logits of student and teacher, and the value is multiplied by T²; mutual learning has 1")
          .def(1.0)
          .above(0);
    }
  };

  explicit JensenShannonLoss(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }

  /// T² · ½(KL(p‖m) + KL(q‖m)) with m = (p + q)/2.
  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const double t = params_.temperature;
    const at::Tensor log_p = kd::log_softmax_at(student, t);
    const at::Tensor log_q = kd::log_softmax_at(teacher, t);
    const at::Tensor log_m = at::logaddexp(log_p, log_q) - std::numbers::ln2;
    const at::Tensor both = kd::row_divergences(log_p, log_m) + kd::row_divergences(log_q, log_m);
    return both.mean() * (t * t / 2);
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "js", JensenShannonLoss,
            "Jensen–Shannon divergence of student and teacher, in nats: symmetric, at most ln 2 at T = 1")
