// The Brier score as a loss of distillation: Brier, "Verification of Forecasts Expressed in Terms of Probability",
// 1950, with the teacher's softmax in the place of the label: the mean of Σ (p − q)², times T². It is bounded, so that
// samples that the teacher gets wrong pull less than by KL(q‖p).
//   losses = [{ type = "cross_entropy" }, { type = "brier", weight = 1.0, temperature = 1.0 }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/tensor.h"

namespace {

class BrierDistillation final : public kd::Loss {
 public:
  struct Params {
    kd::Scheduled temperature;

    static void schema(kd::Schema<Params>& s) {
      s.field("temperature", &Params::temperature,
              "T; divides the logits, and the value is multiplied by T²: a number or a schedule")
          .def(1.0)
          .above(0);
    }
  };

  explicit BrierDistillation(const Params& params) : temperature_(params.temperature) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const double temperature = temperature_.at(input.time);
    const auto [student, teacher] = kd::precise_logits(input);
    const at::Tensor difference = at::softmax(student / temperature, 1) - at::softmax(teacher / temperature, 1);
    return difference.square().sum(1).mean() * (temperature * temperature);
  }

 private:
  const kd::ScheduledValue temperature_;
};

}  // namespace

KD_REGISTER(kd::Loss, "brier", BrierDistillation,
            "squared difference of the student's and the teacher's probabilities (Brier score)")
