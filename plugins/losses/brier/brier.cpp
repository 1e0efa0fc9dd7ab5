// The Brier score as a loss of distillation: Brier, "Verification of Forecasts Expressed in Terms of Probability",
// 1950, with the teacher's softmax in the place of the label: the mean of Σ (p − q)², times T². It is bounded, so that
// samples that the teacher gets wrong pull less than by KL(q‖p).
//   losses = [{ type = "cross_entropy" }, { type = "brier", weight = 1.0, temperature = 1.0 }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/temperature.h"
#include "kd/tensor.h"

namespace {

class BrierDistillation final : public kd::Loss {
 public:
  struct Params : kd::TemperatureParams {
    static void schema(kd::Schema<Params>& s) { kd::declare_temperature(s).def(1.0); }
  };

  explicit BrierDistillation(const Params& params) : temperature_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool recordable() const override { return temperature_.constant(); }

  at::Tensor operator()(const kd::LossInput& input) override {
    const kd::Softened z = temperature_(input);
    return z.mean((z.log_student().exp() - z.log_teacher().exp()).square().sum(1));
  }

 private:
  const kd::Temperature temperature_;
};

}  // namespace

KD_REGISTER(kd::Loss, "brier", BrierDistillation,
            "squared difference of the student's and the teacher's probabilities (Brier score)")
