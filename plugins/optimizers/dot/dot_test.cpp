// Tests of the optimizer "dot".
#include "kd/testing/optimizers.h"

namespace {

using kd::testing::Numbers;
using Optimized = kd::testing::Setup;  // GoogleTest has a Setup of its own

constexpr const char* kToml = "{ type = 'dot', lr = 0.05, momentum = 0.8, delta = 0.1, weight_decay = 0.01 }";

/// The gradient that teachers teach parameter `name` in a step.
at::Tensor taught(const std::string& name, int step) { return Optimized::gradient(name, step + 50); }

kd::OptimizerStep step_of(int step, const at::Device& device, const std::vector<std::string>& without = {}) {
  kd::OptimizerStep result;
  for (const auto& [name, shape] : Optimized::shapes()) {
    const bool skipped = std::find(without.begin(), without.end(), name) != without.end();
    result.teacher_gradients.push_back(skipped ? at::Tensor() : taught(name, step).to(device));
  }
  return result;
}

TEST(Dot, KeepsTheMomentaOfTaskAndTeachersApart) {
  kd::load_plugins();
  for (const at::Device& device : kd::testing::devices()) {
    Optimized setup(kToml, device);
    std::vector<Numbers> w{setup.numbers(0), setup.numbers(1)}, task{Numbers(15, 0), Numbers(7, 0)}, teacher = task;
    for (int step = 0; step < 4; ++step) {
      setup.step(step, step_of(step, device));
      for (std::size_t p = 0; p < 2; ++p) {
        const std::string name = Optimized::shapes()[p].first;
        const Numbers g = Optimized::to_numbers(Optimized::gradient(name, step)),
                      t = Optimized::to_numbers(taught(name, step));
        for (std::size_t i = 0; i < w[p].size(); ++i) {
          task[p][i] = 0.7 * task[p][i] + g[i] + 0.01 * w[p][i];
          teacher[p][i] = 0.9 * teacher[p][i] + t[i];
          w[p][i] -= 0.05 * (task[p][i] + teacher[p][i]);
        }
      }
    }
    for (std::size_t p = 0; p < 2; ++p) kd::testing::expect_near(setup.numbers(p), w[p], 1e-12);
  }
}

TEST(Dot, MovesWhatOnlyOneReachesAsSgd) {
  kd::load_plugins();
  Optimized alone(kToml, at::kCPU), sgd("{ type = 'sgd', lr = 0.05, momentum = 0.8, weight_decay = 0.01 }", at::kCPU);
  for (int step = 0; step < 4; ++step) {
    alone.step(step);
    sgd.step(step);
  }
  for (std::size_t p = 0; p < 2; ++p) kd::testing::expect_near(alone.numbers(p), sgd.numbers(p), 1e-12);
  // The same where only teachers reach it.
  Optimized lectured(kToml, at::kCPU),
      other("{ type = 'sgd', lr = 0.05, momentum = 0.8, weight_decay = 0.01 }", at::kCPU);
  for (int step = 0; step < 4; ++step) {
    kd::OptimizerStep of_teachers;
    for (const auto& [name, shape] : Optimized::shapes())
      of_teachers.teacher_gradients.push_back(Optimized::gradient(name, step));
    lectured.step(step, of_teachers, {"weight", "bias"});
    other.step(step);
  }
  for (std::size_t p = 0; p < 2; ++p) kd::testing::expect_near(lectured.numbers(p), other.numbers(p), 1e-12);
}

TEST(Dot, WithoutDeltaIsSgdOfTheSum) {
  kd::load_plugins();
  Optimized dot("{ type = 'dot', lr = 0.05, momentum = 0.8, delta = 0, weight_decay = 0 }", at::kCPU);
  Optimized sgd("{ type = 'sgd', lr = 0.05, momentum = 0.8 }", at::kCPU);
  std::vector<Numbers> w{sgd.numbers(0), sgd.numbers(1)}, v{Numbers(15, 0), Numbers(7, 0)};
  for (int step = 0; step < 4; ++step) {
    dot.step(step, step_of(step, at::kCPU));
    for (std::size_t p = 0; p < 2; ++p) {
      const std::string name = Optimized::shapes()[p].first;
      const Numbers g = Optimized::to_numbers(Optimized::gradient(name, step)),
                    t = Optimized::to_numbers(taught(name, step));
      for (std::size_t i = 0; i < w[p].size(); ++i) w[p][i] -= 0.05 * (v[p][i] = 0.8 * v[p][i] + g[i] + t[i]);
    }
  }
  for (std::size_t p = 0; p < 2; ++p) kd::testing::expect_near(dot.numbers(p), w[p], 1e-12);
}

TEST(Dot, KeepsWhatAnOptimizerMustKeep) {
  kd::testing::expect_layout_does_not_matter(kToml);
  kd::testing::expect_restores(kToml);
  kd::testing::expect_skips_parameters_without_gradient(kToml);
  kd::testing::expect_overflow_skips_the_step(kToml);
  kd::testing::expect_factor_scales_the_rate("dot", 0.5, 0.25);
}

TEST(Dot, RefusesMomentaBeyondOne) {
  kd::load_plugins();
  EXPECT_THROW(Optimized("{ type = 'dot', momentum = 0.95, delta = 0.1 }", at::kCPU), kd::Error);
  EXPECT_THROW(Optimized("{ type = 'dot', momentum = 0.05, delta = 0.1 }", at::kCPU), kd::Error);
  EXPECT_TRUE(Optimized(kToml, at::kCPU).optimizer().separates_teachers());
}

}  // namespace
