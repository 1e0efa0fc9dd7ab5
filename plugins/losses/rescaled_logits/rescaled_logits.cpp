// The distillation term of MIX-KD: Choi et al., "Understanding the Role of Mixup in Knowledge Distillation: An
// Empirical Study", WACV 2023, arXiv 2211.03946.
#include "../shared/logits.h"
#include "../shared/soft_targets.h"
#include "kd/loss.h"
#include "kd/plugin.h"

namespace {

class RescaledLogits final : public kd::Loss {
 public:
  using Params = kd::NoParameters;

  explicit RescaledLogits(const Params&) {}

  kd::LossNeeds needs() const override { return {.teacher = true, .student_taps = {}, .teacher_taps = {}}; }

  /// Mean over the batch of KL(softmax(z_t/σ_t)‖softmax(z_s/σ_s)).
  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = logit::precise_pair(input);
    return soft_targets::divergence(logit::rescale(student), logit::rescale(teacher), 1,
                                    1 / static_cast<double>(student.size(0)));
  }
};

}  // namespace

KD_REGISTER(kd::Loss, "rescaled_logits", RescaledLogits,
            "KL between softmaxes of logits divided by each sample's own standard deviation (unbiased), without "
            "temperature: MIX-KD (Choi et al., 2023), weight 0.9 beside 0.1 for cross_entropy with rescale = true")
