// Tests of the optimizer "entropy_sgd".
#include "kd/testing/optimizers.h"

namespace {

using kd::testing::Numbers;
using Optimized = kd::testing::Setup;  // GoogleTest has a Setup of its own

const std::string kSettings =
    "lr = 0.5, momentum = 0.8, weight_decay = 0.01, steps = 3, inner_lr = 0.2, scope = 0.3, scope_growth = 0.5, "
    "average = 0.6";

std::string toml(const std::string& more) { return "{ type = 'entropy_sgd', " + kSettings + ", " + more + " }"; }

/// The authors' loop for one number, without noise.
struct Rule {
  bool nesterov;
  double centre = 0, mean = 0, inner = 0, outer = 0, scope = 0.3;
  int batch = 0;

  double way(double g, double w, double& momentum) const {
    g += 0.01 * w;
    momentum = 0.8 * momentum + g;
    return nesterov ? g + 0.8 * momentum : momentum;
  }

  double operator()(double w, double g) {
    if (batch == 0) {
      centre = mean = w;
      inner = 0;
    }
    w -= 0.2 * (way(g, w, inner) - scope * (centre - w));
    mean = 0.6 * mean + 0.4 * w;
    if (++batch < 3) return w;
    batch = 0;
    scope *= 1.5;
    return centre - 0.5 * way(centre - mean, centre, outer);
  }
};

TEST(EntropySgd, FollowsTheAuthorsLoop) {
  for (const bool nesterov : {true, false}) {
    kd::testing::expect_follows(toml(std::string("noise = 0, nesterov = ") + (nesterov ? "true" : "false")), 8, [&] {
      return [rule = Rule{nesterov}](double w, double g, int, bool) mutable { return rule(w, g); };
    });
  }
}

TEST(EntropySgd, AddsNoiseOfItsSizeToEveryBatch) {
  kd::load_plugins();
  Optimized with(toml("noise = 0.1"), at::kCPU), without(toml("noise = 0"), at::kCPU);
  with.step(0);
  without.step(0);
  const at::Tensor noise = (without.parameter(0) - with.parameter(0)) / (0.2 * 0.1 / std::sqrt(0.1));
  EXPECT_GT(noise.std().item<double>(), 0.5);  // of 15 standard normal numbers
  EXPECT_LT(noise.std().item<double>(), 1.7);
  Optimized again(toml("noise = 0.1"), at::kCPU);
  again.step(0);
  EXPECT_TRUE(again.parameter(0).equal(with.parameter(0)));
  with.step(1);
  without.step(1);
  EXPECT_FALSE((without.parameter(0) - with.parameter(0)).allclose(noise));
}

TEST(EntropySgd, RestoresInTheMiddleOfARound) {
  kd::testing::expect_restores(toml("noise = 0.01"));
  kd::testing::expect_layout_does_not_matter(toml("noise = 0"));
}

TEST(EntropySgd, LeavesParametersWithoutGradient) {
  kd::load_plugins();
  Optimized setup("{ type = 'entropy_sgd', noise = 0.1, steps = 3 }", at::kCPU);
  const at::Tensor before = setup.parameter(0).clone();
  for (int step = 0; step < 2; ++step) setup.step(step, {}, {"weight"});
  EXPECT_TRUE(setup.parameter(0).equal(before));
  EXPECT_FALSE(setup.parameter(1).equal(Optimized(toml("noise = 0"), at::kCPU).parameter(1)));
}

TEST(EntropySgd, DoesNotTakeFp16) {
  kd::load_plugins();
  Optimized setup(toml("noise = 0"), at::kCPU);
  EXPECT_THROW(setup.step(0, {.factor = 1, .found_inf = kd::testing::normal({1})}), kd::Error);
}

}  // namespace
