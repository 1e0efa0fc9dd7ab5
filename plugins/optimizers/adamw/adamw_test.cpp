// Tests of the optimizer "adamw".
#include "kd/testing/optimizers.h"

namespace {

constexpr const char* kDecayed =
    "{ type = 'adamw', lr = 0.02, beta1 = 0.8, beta2 = 0.95, eps = 1e-6, weight_decay = 0.1 }";

/// Algorithm 2 of the paper in the form of torch.optim.AdamW, where the rate also scales the decay.
kd::testing::Rule rule(double lr, double beta1, double beta2, double eps, double weight_decay) {
  return [=, m = 0.0, v = 0.0](double w, double g, int t, bool decays) mutable {
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    const double m_hat = m / (1 - std::pow(beta1, t));
    const double v_hat = v / (1 - std::pow(beta2, t));
    const double decayed = decays ? w * (1 - lr * weight_decay) : w;
    return decayed - lr * m_hat / (std::sqrt(v_hat) + eps);
  };
}

TEST(AdamW, FollowsTheDefaults) {
  kd::testing::expect_follows("{ type = 'adamw' }", 5, [] { return rule(1e-3, 0.9, 0.999, 1e-8, 1e-2); });
}

TEST(AdamW, DecayIsDecoupled) {
  kd::testing::expect_follows(kDecayed, 5, [] { return rule(0.02, 0.8, 0.95, 1e-6, 0.1); });
}

TEST(AdamW, SparesBiasesFromDecay) {
  kd::testing::expect_follows(
      "{ type = 'adamw', weight_decay = 0.5, decay_norms_and_biases = false }", 4,
      [] { return rule(1e-3, 0.9, 0.999, 1e-8, 0.5); }, /*bias_decays=*/false);
}

TEST(AdamW, LayoutDoesNotMatter) { kd::testing::expect_layout_does_not_matter(kDecayed); }

TEST(AdamW, Restores) { kd::testing::expect_restores(kDecayed); }

TEST(AdamW, SkipsParametersWithoutGradient) { kd::testing::expect_skips_parameters_without_gradient(kDecayed); }

TEST(AdamW, OverflowSkipsTheStep) { kd::testing::expect_overflow_skips_the_step(kDecayed); }

TEST(AdamW, FactorScalesTheRate) { kd::testing::expect_factor_scales_the_rate("adamw", 0.5, 0.25); }

}  // namespace
