// KL(p‖q) from the student p to the teacher q, the mode-seeking direction: Gu et al., "MiniLLM", arXiv 2306.08543.
//   losses = [{ type = "reverse_kl", temperature = 4.0 }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/temperature.h"

namespace {

class ReverseDivergence final : public kd::Loss {
 public:
  struct Params : kd::TemperatureParams {
    static void schema(kd::Schema<Params>& s) { kd::declare_temperature(s).def(4.0); }
  };

  explicit ReverseDivergence(const Params& params) : temperature_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool recordable() const override { return temperature_.constant(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const kd::Softened z = temperature_(input);
    return z.mean(kd::row_divergences(z.log_student(), z.log_teacher()));
  }

 private:
  const kd::Temperature temperature_;
};

}  // namespace

KD_REGISTER(kd::Loss, "reverse_kl", ReverseDivergence,
            "KL(p‖q)·T² from the student p to the teacher q: \"kd\" with the two exchanged")
