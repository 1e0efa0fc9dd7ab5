// The distillation term of MIX-KD: Choi et al., "Understanding the Role of Mixup in Knowledge Distillation: An
// Empirical Study", WACV 2023, arXiv 2211.03946.
//   losses = [{ type = "rescaled_logits" }]
#include "kd/logits.h"
#include "kd/loss.h"
#include "kd/plugin.h"
#include "kd/soft_targets.h"

namespace {

class RescaledLogits final : public kd::Loss {
 public:
  using Params = kd::NoParameters;

  explicit RescaledLogits(const Params&) {}

  kd::LossNeeds needs() const override { return {.teacher = true}; }
  bool recordable() const override { return true; }

  /// Mean over the batch of KL(softmax(z_t/σ_t)‖softmax(z_s/σ_s)).
  at::Tensor operator()(const kd::LossInput& input) override {
    const auto [student, teacher] = kd::precise_logits(input);
    return kd::soft_target_divergence(kd::rescale_logits(student), kd::rescale_logits(teacher), 1,
                                      1 / static_cast<double>(student.size(0)));
  }
};

}  // namespace

KD_REGISTER(kd::Loss, "rescaled_logits", RescaledLogits,
            "KL between softmaxes of logits divided by each sample's own standard deviation (unbiased), without "
            "temperature: MIX-KD (Choi et al., 2023), weight 0.9 beside 0.1 for cross_entropy with rescale = true")
