// Tests of the optimizer "sgd".
#include "kd/testing/optimizers.h"

namespace {

constexpr const char* kMomentum = "{ type = 'sgd', lr = 0.05, momentum = 0.9, weight_decay = 0.01 }";
constexpr const char* kDampened = "{ type = 'sgd', lr = 0.05, momentum = 0.9, dampening = 0.3, weight_decay = 0.01 }";

struct Settings {
  double lr = 0.05, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
};

/// The rule as torch.optim.SGD documents it.
kd::testing::Rule rule(const Settings& settings) {
  return [settings, buffer = 0.0](double w, double g, int t, bool decays) mutable {
    if (decays) g += settings.weight_decay * w;
    if (settings.momentum != 0) {
      buffer = t == 1 ? g : settings.momentum * buffer + (1 - settings.dampening) * g;
      g = settings.nesterov ? g + settings.momentum * buffer : buffer;
    }
    return w - settings.lr * g;
  };
}

TEST(Sgd, DescendsPlainly) {
  kd::testing::expect_follows("{ type = 'sgd', lr = 0.05 }", 4, [] { return rule({}); });
}

TEST(Sgd, FollowsMomentum) {
  kd::testing::expect_follows(kMomentum, 5, [] { return rule({.momentum = 0.9, .weight_decay = 0.01}); });
}

TEST(Sgd, FollowsNesterov) {
  kd::testing::expect_follows("{ type = 'sgd', lr = 0.05, momentum = 0.9, nesterov = true, weight_decay = 0.01 }", 5,
                              [] { return rule({.momentum = 0.9, .weight_decay = 0.01, .nesterov = true}); });
}

TEST(Sgd, DoesNotDampenTheFirstGradient) {
  kd::testing::expect_follows(kDampened, 5,
                              [] { return rule({.momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01}); });
}

TEST(Sgd, SparesBiasesFromDecay) {
  kd::testing::expect_follows(
      "{ type = 'sgd', lr = 0.05, momentum = 0.9, weight_decay = 0.1, decay_norms_and_biases = false }", 4,
      [] { return rule({.momentum = 0.9, .weight_decay = 0.1}); }, /*bias_decays=*/false);
}

TEST(Sgd, LayoutDoesNotMatter) { kd::testing::expect_layout_does_not_matter(kMomentum); }

TEST(Sgd, LayoutDoesNotMatterWithoutMomentum) {
  kd::testing::expect_layout_does_not_matter("{ type = 'sgd', lr = 0.05 }");
}

TEST(Sgd, Restores) {
  kd::testing::expect_restores(kMomentum);
  kd::testing::expect_restores(kDampened);
}

TEST(Sgd, SkipsParametersWithoutGradient) {
  kd::testing::expect_skips_parameters_without_gradient(kMomentum);
  kd::testing::expect_skips_parameters_without_gradient(kDampened);
}

TEST(Sgd, OverflowSkipsTheStep) {
  kd::testing::expect_overflow_skips_the_step(kMomentum);
  kd::testing::expect_overflow_skips_the_step(kDampened);
}

TEST(Sgd, FactorScalesTheRate) { kd::testing::expect_factor_scales_the_rate("sgd", 0.5, 0.25); }

TEST(Sgd, NamesItsState) {
  kd::load_plugins();
  kd::testing::Setup with(kMomentum, at::kCPU);
  EXPECT_EQ(with.optimizer().state().size(), 2U);
  EXPECT_TRUE(with.optimizer().state().contains("momentum.weight"));
  kd::testing::Setup without("{ type = 'sgd' }", at::kCPU);
  EXPECT_TRUE(without.optimizer().state().empty());
}

TEST(Sgd, NesterovNeedsMomentumWithoutDampening) {
  kd::load_plugins();
  EXPECT_THROW(kd::make<kd::Optimizer>("{ type = 'sgd', nesterov = true }", {}), kd::Error);
  EXPECT_THROW(kd::make<kd::Optimizer>("{ type = 'sgd', nesterov = true, momentum = 0.9, dampening = 0.1 }", {}),
               kd::Error);
}

TEST(Sgd, RefusesAParameterWhoseLayoutChanged) {
  kd::load_plugins();
  const at::Tensor weight = kd::testing::normal({4, 3, 3, 2}).requires_grad_(true);
  const auto optimizer = kd::make<kd::Optimizer>(kMomentum, {{{"w", weight}}});
  weight.set_data(weight.detach().contiguous(at::MemoryFormat::ChannelsLast));
  weight.mutable_grad() = weight.detach().clone();
  EXPECT_THROW(optimizer->step({}), kd::Error);
}

}  // namespace
