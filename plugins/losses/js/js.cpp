// Jensen–Shannon divergence of the softmaxes of student and teacher: Lin, "Divergence measures based on the Shannon
// entropy", 1991; the symmetric mimicry that Zhang et al., "Deep Mutual Learning", arXiv 1706.00384, compare with.
//   losses = [{ type = "js", temperature = 1.0 }]
#include <ATen/ops/logaddexp.h>

#include <numbers>

#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/temperature.h"

namespace {

class JensenShannonLoss final : public kd::Loss {
 public:
  struct Params : kd::TemperatureParams {
    static void schema(kd::Schema<Params>& s) { kd::declare_temperature(s).def(1.0); }
  };

  explicit JensenShannonLoss(const Params& params) : temperature_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool recordable() const override { return temperature_.constant(); }

  /// T² · ½(KL(p‖m) + KL(q‖m)) with m = (p + q)/2.
  at::Tensor operator()(const kd::LossInput& input) override {
    const kd::Softened z = temperature_(input);
    const at::Tensor log_p = z.log_student(), log_q = z.log_teacher();
    const at::Tensor log_m = at::logaddexp(log_p, log_q) - std::numbers::ln2;
    return z.mean(kd::row_divergences(log_p, log_m) + kd::row_divergences(log_q, log_m)) / 2;
  }

 private:
  const kd::Temperature temperature_;
};

}  // namespace

KD_REGISTER(kd::Loss, "js", JensenShannonLoss,
            "Jensen–Shannon divergence of student and teacher, in nats: symmetric, at most ln 2 at T = 1")
