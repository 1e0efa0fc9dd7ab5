// Tests of the optimizer "adam".
#include "kd/testing/optimizers.h"

namespace {

constexpr const char* kDecayed =
    "{ type = 'adam', lr = 0.02, beta1 = 0.8, beta2 = 0.95, eps = 1e-6, weight_decay = 0.1 }";

/// Algorithm 1 of the paper, with the gradient of an L2 penalty.
kd::testing::Rule rule(double lr, double beta1, double beta2, double eps, double weight_decay) {
  return [=, m = 0.0, v = 0.0](double w, double g, int t, bool decays) mutable {
    if (decays) g += weight_decay * w;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    const double m_hat = m / (1 - std::pow(beta1, t));
    const double v_hat = v / (1 - std::pow(beta2, t));
    return w - lr * m_hat / (std::sqrt(v_hat) + eps);
  };
}

TEST(Adam, FollowsTheDefaults) {
  kd::testing::expect_follows("{ type = 'adam' }", 5, [] { return rule(1e-3, 0.9, 0.999, 1e-8, 0); });
}

TEST(Adam, DecayIsPartOfTheGradient) {
  kd::testing::expect_follows(kDecayed, 5, [] { return rule(0.02, 0.8, 0.95, 1e-6, 0.1); });
}

TEST(Adam, SparesBiasesFromDecay) {
  kd::testing::expect_follows(
      "{ type = 'adam', weight_decay = 0.1, decay_norms_and_biases = false }", 4,
      [] { return rule(1e-3, 0.9, 0.999, 1e-8, 0.1); }, /*bias_decays=*/false);
}

TEST(Adam, LayoutDoesNotMatter) { kd::testing::expect_layout_does_not_matter(kDecayed); }

TEST(Adam, Restores) { kd::testing::expect_restores(kDecayed); }

TEST(Adam, SkipsParametersWithoutGradient) { kd::testing::expect_skips_parameters_without_gradient(kDecayed); }

TEST(Adam, OverflowSkipsTheStep) { kd::testing::expect_overflow_skips_the_step(kDecayed); }

TEST(Adam, FactorScalesTheRate) { kd::testing::expect_factor_scales_the_rate("adam", 0.5, 0.25); }

TEST(Adam, CountsTheStepsOfEachParameter) {
  kd::load_plugins();
  kd::testing::Setup setup(kDecayed, at::kCPU);
  setup.step(0);
  setup.step(1, {}, {"weight"});
  EXPECT_EQ(setup.optimizer().state().at("step.weight").item<double>(), 1);
  EXPECT_EQ(setup.optimizer().state().at("step.bias").item<double>(), 2);
}

}  // namespace
