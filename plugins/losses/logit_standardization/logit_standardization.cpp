// Distillation on standardised logits: Sun, Ren, Li, Wang and Cao, "Logit Standardization in Knowledge Distillation",
// CVPR 2024, arXiv 2403.01427.
//   losses = [{ type = "logit_standardization", temperature = 2.0 }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/soft_targets.h"

namespace {

class StandardisedLogits final : public kd::Loss {
 public:
  struct Params {
    double temperature = 2;

    static void schema(kd::Schema<Params>& s) {
      s.field(
           "temperature", &Params::temperature,
           "T, the base temperature: divides the standardised logits (z − mean)/(σ + 1e-7), with σ unbiased, and the "
           "value is multiplied by T²; published between 2 and 4, with weight 9 beside 0.1 for cross_entropy")
          .def(2.0)
          .above(0);
    }
  };

  explicit StandardisedLogits(const Params& params) : params_(params) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }

  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    const double t = params_.temperature;
    return kd::soft_target_divergence(kd::standardise_logits(student), kd::standardise_logits(teacher), t,
                                      t * t / static_cast<double>(student.size(0)));
  }

 private:
  const Params params_;
};

}  // namespace

KD_REGISTER(kd::Loss, "logit_standardization", StandardisedLogits,
            "soft targets from logits that are standardised per sample (Sun et al., 2024)")
