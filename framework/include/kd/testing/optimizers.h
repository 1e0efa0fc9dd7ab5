// What the tests of the optimizers share: parameters with a known sequence of gradients, and comparison with numbers.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kd/optimizer.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"

namespace kd::testing {

using Numbers = std::vector<double>;

/// An optimizer on one weight matrix and one bias, in double precision, on one device.
class Setup {
 public:
  Setup(const std::string& toml, const at::Device& device) {
    for (const auto& [name, shape] : shapes()) {
      parameters_.push_back(
          {name, kd::testing::normal(shape, seed_of(name, -1)).to(device, at::kDouble).requires_grad_(true)});
    }
    optimizer_ = kd::make<kd::Optimizer>(toml, {parameters_});
  }

  static std::vector<std::pair<std::string, std::vector<std::int64_t>>> shapes() {
    return {{"weight", {3, 5}}, {"bias", {7}}};
  }
  /// The gradient that parameter `name` gets in step number `step`.
  static at::Tensor gradient(const std::string& name, int step) {
    for (const auto& [known, shape] : shapes()) {
      if (known == name) return kd::testing::normal(shape, seed_of(name, step)).to(at::kDouble);
    }
    throw kd::Error("no parameter " + name);
  }

  /// One step; the parameters named in `without` get no gradient.
  void step(int number, const kd::OptimizerStep& step = {}, const std::vector<std::string>& without = {}) {
    for (const kd::NamedParameter& parameter : parameters_) {
      const bool skipped = std::find(without.begin(), without.end(), parameter.name) != without.end();
      parameter.tensor.mutable_grad() =
          skipped ? at::Tensor() : gradient(parameter.name, number).to(parameter.tensor.device());
    }
    optimizer_->step(step);
  }

  kd::Optimizer& optimizer() { return *optimizer_; }
  at::Tensor parameter(std::size_t i) const { return parameters_[i].tensor.detach(); }
  Numbers numbers(std::size_t i) const { return to_numbers(parameters_[i].tensor); }
  /// Takes over the parameters and the state of another one.
  void restore(Setup& other) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) parameters_[i].tensor.detach().copy_(other.parameter(i));
    const std::map<std::string, at::Tensor> source = other.optimizer_->state();
    const std::map<std::string, at::Tensor> target = optimizer_->state();
    ASSERT_EQ(source.size(), target.size());
    for (const auto& [name, tensor] : target) tensor.detach().copy_(source.at(name));
  }

  static Numbers to_numbers(const at::Tensor& tensor) {
    const at::Tensor flat = tensor.detach().to(at::kCPU, at::kDouble).contiguous().view(-1);
    return Numbers(flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel());
  }

 private:
  static std::uint64_t seed_of(const std::string& name, int step) {
    return name.size() + 10 * static_cast<std::uint64_t>(step + 1);
  }

  std::vector<kd::NamedParameter> parameters_;
  std::unique_ptr<kd::Optimizer> optimizer_;
};

inline void expect_near(const Numbers& actual, const Numbers& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], tolerance) << "element " << i;
}

/// The published rule for one number: `update(w, g, t, decay)` returns the weight after step t = 1, 2, …; it may keep
/// state.
using Rule = std::function<double(double w, double g, int t, bool decays)>;

/// Runs `steps` steps and compares every element of both parameters with a rule of its own from `make_rule`.
inline void expect_follows(const std::string& toml, int steps, const std::function<Rule()>& make_rule,
                           bool bias_decays = true) {
  kd::load_plugins();
  for (const at::Device& device : kd::testing::devices()) {
    Setup setup(toml, device);
    std::vector<Numbers> expected{setup.numbers(0), setup.numbers(1)};
    for (int step = 0; step < steps; ++step) setup.step(step);
    for (std::size_t p = 0; p < expected.size(); ++p) {
      for (std::size_t i = 0; i < expected[p].size(); ++i) {
        const Rule rule = make_rule();
        for (int step = 0; step < steps; ++step) {
          const double gradient = Setup::to_numbers(Setup::gradient(Setup::shapes()[p].first, step))[i];
          expected[p][i] = rule(expected[p][i], gradient, step + 1, p == 0 || bias_decays);
        }
      }
      expect_near(setup.numbers(p), expected[p], 1e-12);
    }
  }
}

/// A parameter in channels-last order moves as its contiguous copy does, whichever order its gradient is in.
inline void expect_layout_does_not_matter(const std::string& toml) {
  kd::load_plugins();
  for (const at::Device& device : kd::testing::devices()) {
    for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{4, 3, 3, 2}, {5, 1, 3, 3}}) {
      const at::Tensor start = kd::testing::normal(shape, 1).to(device);
      const at::Tensor plain = start.clone().requires_grad_(true);
      const at::Tensor last = start.clone().contiguous(at::MemoryFormat::ChannelsLast).requires_grad_(true);
      const auto one = kd::make<kd::Optimizer>(toml, {{{"w", plain}}});
      const auto other = kd::make<kd::Optimizer>(toml, {{{"w", last}}});
      for (std::uint64_t step = 0; step < 4; ++step) {
        const at::Tensor gradient = kd::testing::normal(shape, step + 2).to(device);
        plain.mutable_grad() = gradient;
        last.mutable_grad() = step % 2 == 0 ? gradient.contiguous(at::MemoryFormat::ChannelsLast) : gradient;
        one->step({});
        other->step({});
      }
      EXPECT_FALSE(plain.detach().equal(start));
      EXPECT_TRUE(plain.detach().allclose(last.detach(), 1e-6, 1e-7)) << at::IntArrayRef(shape);
      EXPECT_EQ(last.strides(), start.contiguous(at::MemoryFormat::ChannelsLast).strides());
    }
  }
}

/// Saved after two steps and restored into a fresh optimizer, the third step gives the same bits.
inline void expect_restores(const std::string& toml) {
  kd::load_plugins();
  for (const at::Device& device : kd::testing::devices()) {
    Setup whole(toml, device);
    whole.step(0);
    whole.step(1);
    Setup resumed(toml, device);
    resumed.restore(whole);
    Setup forgetful(toml, device);
    for (std::size_t p = 0; p < 2; ++p) forgetful.parameter(p).copy_(whole.parameter(p));
    for (Setup* setup : {&whole, &resumed, &forgetful}) setup->step(2);
    for (std::size_t p = 0; p < 2; ++p) {
      EXPECT_TRUE(whole.parameter(p).equal(resumed.parameter(p)));
      EXPECT_FALSE(whole.parameter(p).equal(forgetful.parameter(p))) << "the state makes no difference";
    }
  }
}

/// A parameter without a gradient stays as it is, and later moves as if the step had not been.
inline void expect_skips_parameters_without_gradient(const std::string& toml) {
  kd::load_plugins();
  for (const at::Device& device : kd::testing::devices()) {
    Setup skipping(toml, device);
    Setup plain(toml, device);
    skipping.step(0, {}, {"weight", "bias"});
    skipping.step(0);
    plain.step(0);
    const at::Tensor before = skipping.parameter(0).clone();
    skipping.step(1, {}, {"weight"});
    EXPECT_TRUE(skipping.parameter(0).equal(before));
    skipping.step(2);
    plain.step(2);
    EXPECT_TRUE(skipping.parameter(0).equal(plain.parameter(0)));
    EXPECT_FALSE(skipping.parameter(1).equal(plain.parameter(1)));
  }
}

/// A step whose gradients overflowed changes nothing, neither parameters nor state.
inline void expect_overflow_skips_the_step(const std::string& toml) {
  kd::load_plugins();
  for (const at::Device& device : kd::testing::devices()) {
    const auto flag = [&](double value) { return kd::testing::normal({1}).to(device).fill_(value); };
    Setup skipping(toml, device);
    Setup plain(toml, device);
    for (int step = 0; step < 4; ++step) {
      skipping.step(9, {.factor = 1, .found_inf = flag(1)});
      skipping.step(step, {.factor = 1, .found_inf = flag(0)});
      plain.step(step);
    }
    for (std::size_t p = 0; p < 2; ++p) EXPECT_TRUE(skipping.parameter(p).equal(plain.parameter(p)));
  }
}

/// The factor of a step acts as a different learning rate would.
inline void expect_factor_scales_the_rate(const std::string& type, double lr, double factor) {
  kd::load_plugins();
  const auto toml = [&](double rate) { return "{ type = '" + type + "', lr = " + std::to_string(rate) + " }"; };
  for (const at::Device& device : kd::testing::devices()) {
    Setup scaled(toml(lr), device);
    Setup plain(toml(lr * factor), device);
    EXPECT_DOUBLE_EQ(scaled.optimizer().learning_rate(), lr);
    for (int step = 0; step < 3; ++step) {
      scaled.step(step, {.factor = factor, .found_inf = {}});
      plain.step(step);
    }
    for (std::size_t p = 0; p < 2; ++p) expect_near(scaled.numbers(p), plain.numbers(p), 1e-12);
  }
}

}  // namespace kd::testing
