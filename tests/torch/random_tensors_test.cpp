// Tests of kd/random_tensors.h: the tensor form gives the bits of the scalar form, on every device; logarithms and the
// like are rounded otherwise on a GPU.
#include "kd/random_tensors.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "data/batches.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"
#include "sdk/draw_tables.h"

namespace {

const kd::RandomKey kKey = kd::RandomKey{42}.with("test");

/// Counters at the edges of what a batch or a loss may use.
at::Tensor edge_counters() {
  return at::tensor({std::int64_t{0}, std::int64_t{1}, std::int64_t{59999}, (std::int64_t{1} << 31) - 1,
                     std::int64_t{1} << 31, (std::int64_t{1} << 47) - 1, std::int64_t{1} << 47},
                    at::kLong);
}

enum class Bits { kSame, kToRounding };

/// Whether two draws are those that `bits` promises for another device. A beta number near 0 or 1 is one of which the
/// logarithm was rounded.
void expect_draws(const at::Tensor& found, const at::Tensor& expected, Bits bits, const std::string& where) {
  if (bits == Bits::kSame) {
    EXPECT_TRUE(found.equal(expected)) << where;
  } else {
    EXPECT_TRUE(found.allclose(expected, 1e-4, 1e-6)) << where << "\n" << (found - expected).abs().max();
  }
}

/// What `draw` makes of the counters on every device beside what it makes of them on the CPU.
template <class Draw>
void expect_draws_on_every_device(const Draw& draw, const at::Tensor& counters, Bits bits) {
  const at::Tensor on_cpu = draw(counters);
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor there = draw(counters.to(device)).cpu();
    expect_draws(there, on_cpu, device.is_cpu() ? Bits::kSame : bits, device.str());
    // An entry is drawn alike whatever stands beside it.
    for (std::int64_t i = 0; i < counters.size(0); ++i) {
      const at::Tensor alone = draw(counters.narrow(0, i, 1).to(device)).cpu();
      EXPECT_TRUE(alone.equal(there.narrow(0, i, 1))) << device << " row " << i;
    }
  }
}

template <class Draw>
void expect_equal_bits(const Draw& draw, const at::Tensor& counters) {
  expect_draws_on_every_device(draw, counters, Bits::kSame);
}

TEST(RandomTensors, EveryDrawIsTheSameOnEveryDevice) {
  for (const std::uint64_t seed : {0ULL, 1ULL, ~0ULL}) {
    const kd::RandomKey key = kd::RandomKey{seed}.with("bits");
    for (const std::int64_t lanes : {1, 3, 100}) {
      expect_equal_bits([&](const at::Tensor& c) { return kd::random_uniform(key, c, lanes); }, edge_counters());
      expect_draws_on_every_device([&](const at::Tensor& c) { return kd::random_normal(key, c, lanes); },
                                   edge_counters(), Bits::kToRounding);
      for (const std::int64_t count : {std::int64_t{1}, std::int64_t{2}, std::int64_t{7}, (std::int64_t{1} << 31) - 1,
                                       std::int64_t{1} << 31, (std::int64_t{1} << 32) - 1}) {
        expect_equal_bits([&](const at::Tensor& c) { return kd::random_below(key, c, lanes, count); }, edge_counters());
      }
    }
    for (const auto& [a, b] : {std::pair{0.01, 0.01}, {0.3, 0.3}, {1.0, 1.0}, {2.0, 500.0}})
      expect_draws_on_every_device([&, a = a, b = b](const at::Tensor& c) { return kd::random_beta(key, c, a, b); },
                                   edge_counters(), Bits::kToRounding);
    for (const at::Device device : kd::testing::devices()) {
      const at::Tensor counters = at::arange(1000, at::kLong).flip({0}) * 7;
      EXPECT_TRUE(kd::random_permutation(key, counters.to(device)).cpu().equal(kd::random_permutation(key, counters)));
      EXPECT_TRUE(kd::common_counter(counters.to(device)).cpu().equal(at::zeros({1}, at::kLong)));
    }
  }
}

TEST(RandomTensors, IntegersBelowStayBelow) {
  for (const at::Device device : kd::testing::devices()) {
    for (const std::int64_t count : {std::int64_t{1}, std::int64_t{3}, (std::int64_t{1} << 32) - 1}) {
      const at::Tensor drawn = kd::random_below(kKey, at::arange(5000, at::kLong).to(device), 2, count);
      EXPECT_GE(drawn.min().item<std::int64_t>(), 0) << device;
      EXPECT_LT(drawn.max().item<std::int64_t>(), count) << device;
    }
  }
}

TEST(RandomTensors, WhatIsLookedUpIsWhatWouldBeDrawn) {
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor index = at::tensor({5, 99, 0, 42}, at::kLong).to(device);
    const auto draw = [&](const at::Tensor& counters) {
      return std::vector<at::Tensor>{
          kd::random_uniform(kKey, counters, 3).cpu(), kd::random_below(kKey, counters, 2, 9).cpu(),
          kd::random_normal(kKey, counters, 2).cpu(), kd::random_beta(kKey, counters, 1, 1).cpu(),
          kd::random_uniform(kKey, kd::common_counter(counters), 1).cpu()};
    };
    const auto plain = draw(index);
    kd::DrawTables tables(100, device);
    for (int epoch = 0; epoch < 2; ++epoch) {
      const kd::DrawTables::Use use(&tables, kd::RandomKey{}.with(static_cast<std::uint64_t>(epoch)), index);
      for (int step = 0; step < 2; ++step) {
        const auto found = draw(index);
        for (std::size_t i = 0; i < plain.size(); ++i) {
          const bool rounded = !device.is_cpu() && (i == 2 || i == 3);  // looked up as the CPU draws them
          expect_draws(found[i], plain[i], rounded ? Bits::kToRounding : Bits::kSame, "draw " + std::to_string(i));
        }
      }
      // Counters that are no positions of the set must not be looked up, whatever their values.
      const at::Tensor others = index * 1000;
      EXPECT_TRUE(kd::random_below(kKey, others, 1, 9).cpu().equal(kd::random_below(kKey, others.cpu(), 1, 9)));
    }
  }
}

TEST(RandomTensors, UniformHasTheBitsOfTheScalarForm) {
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor counters = at::tensor({0, 7, 59999}, at::kLong).to(device);
    const at::Tensor values = kd::random_uniform(kKey, counters, 3).cpu();
    const at::Tensor host = counters.cpu();
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        const auto counter =
            static_cast<std::uint64_t>(host[i].item<std::int64_t>()) * 65536 + static_cast<std::uint64_t>(j) + 1;
        EXPECT_EQ(values[i][j].item<float>(), kd::random_uniform(kKey, counter)) << device;
      }
    }
  }
}

TEST(RandomTensors, BelowCoversItsRangeEvenly) {
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor values = kd::random_below(kKey, at::arange(10000, at::kLong).to(device), 1, 5).cpu();
    const at::Tensor counts = values.flatten().bincount();
    EXPECT_EQ(counts.size(0), 5);
    EXPECT_LT((counts - 2000).abs().max().item<std::int64_t>(), 200);
  }
}

TEST(RandomTensors, NormalHasTheMomentsOfTheNormalDistribution) {
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor x = kd::random_normal(kKey, at::arange(20000, at::kLong).to(device), 2).to(at::kDouble);
    EXPECT_TRUE(x.isfinite().all().item<bool>());
    EXPECT_NEAR(x.mean().item<double>(), 0, 0.02);
    EXPECT_NEAR(x.square().mean().item<double>(), 1, 0.03);
    EXPECT_NEAR(x.pow(4).mean().item<double>(), 3, 0.15);
    EXPECT_NEAR((x.select(1, 0) * x.select(1, 1)).mean().item<double>(), 0, 0.03);
    const at::Tensor one = kd::random_normal(kKey, at::tensor({777}, at::kLong).to(device), 2);
    EXPECT_TRUE(at::allclose(one[0].to(at::kDouble), x[777]));
  }
}

TEST(RandomTensors, BetaHasTheMomentsOfTheBetaDistribution) {
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor counters = at::arange(40000, at::kLong).to(device);
    for (const auto& [a, b] : {std::pair{0.1, 0.1}, {0.3, 0.3}, {1.0, 1.0}, {2.0, 5.0}, {40.0, 40.0}}) {
      const at::Tensor x = kd::random_beta(kKey, counters, a, b).to(at::kDouble);
      EXPECT_TRUE(x.isfinite().all().item<bool>());
      EXPECT_GE(x.min().item<double>(), 0);
      EXPECT_LE(x.max().item<double>(), 1);
      const double mean = a / (a + b), variance = a * b / ((a + b) * (a + b) * (a + b + 1));
      EXPECT_NEAR(x.mean().item<double>(), mean, 5 * std::sqrt(variance / 40000)) << a;
      EXPECT_NEAR(x.var().item<double>(), variance, 0.03 * variance + 1e-5) << a;
      // The distribution of Beta(1, 1) is uniform; of Beta(a, a) symmetric.
      const auto share_below = [&](double bound) { return x.lt(bound).to(at::kDouble).mean().item<double>(); };
      if (a == b) {
        EXPECT_NEAR(share_below(0.5), 0.5, 0.0125);
      }
      if (a == 1) {
        EXPECT_NEAR(share_below(0.1), 0.1, 0.0075);
      }
    }
  }
}

TEST(RandomTensors, PermutationDependsOnTheMembersAlone) {
  const at::Tensor counters = at::tensor({5, 2, 9, 4}, at::kLong);
  const at::Tensor order = kd::random_permutation(kKey, counters);
  EXPECT_TRUE(at::equal(std::get<0>(order.sort()), at::arange(4, at::kLong)));
  const at::Tensor turned = counters.flip({0});
  EXPECT_TRUE(at::equal(counters.index_select(0, order), turned.index_select(0, kd::random_permutation(kKey, turned))));
  EXPECT_FALSE(at::equal(order, kd::random_permutation(kKey.with(1), counters)));
}

TEST(RandomTensors, DropoutKeepsTheMeanAndIsFixedByItsKey) {
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor ones = at::ones({200, 500}, device);
    const at::Tensor dropped = kd::dropout(ones, 0.3, kKey);
    EXPECT_NEAR(dropped.mean().item<double>(), 1.0, 0.01);
    EXPECT_NEAR(dropped.eq(0).to(at::kFloat).mean().item<double>(), 0.3, 0.01);
    EXPECT_TRUE(at::equal(dropped, kd::dropout(ones, 0.3, kKey)));
    EXPECT_FALSE(at::equal(dropped, kd::dropout(ones, 0.3, kKey.with(1))));
    EXPECT_TRUE(at::equal(dropped.cpu(), kd::dropout(ones.cpu(), 0.3, kKey)));
    EXPECT_TRUE(kd::dropout(ones, 0.0, kKey).is_same(ones));
  }
}

}  // namespace
