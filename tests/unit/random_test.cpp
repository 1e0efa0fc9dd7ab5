// Tests of counter-based randomness. The vectors of "squares" were computed from the text of arXiv 2004.06278 in
// Python.
#include "kd/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

namespace {

constexpr kd::RandomKey kKey = kd::RandomKey{42}.with("test");

TEST(MixBits, IsSplitMix64) {
  // The first two outputs of the published generator from state 0.
  EXPECT_EQ(kd::mix_bits(0), 0xe220a8397b1dcdafULL);
  EXPECT_EQ(kd::mix_bits(0x9e3779b97f4a7c15ULL), 0x6e789e6aa1b965f4ULL);
}

TEST(HashName, IsFnv1a) {
  // Vectors of the authors' page, isthe.com/chongo/tech/comp/fnv.
  EXPECT_EQ(kd::hash_name(""), 0xcbf29ce484222325ULL);
  EXPECT_EQ(kd::hash_name("a"), 0xaf63dc4c8601ec8cULL);
  EXPECT_EQ(kd::hash_name("foobar"), 0x85944171f73967e8ULL);
}

TEST(RandomBits, AreThoseOfSquares) {
  const struct {
    std::uint64_t key, counter;
    std::uint32_t bits;
  } vectors[] = {
      {0x548c9decbce65297, 0, 0x36d88366},          {0x548c9decbce65297, 1, 0x944716e0},
      {0x548c9decbce65297, 1000000, 0xb2712f4c},    {0x548c9decbce65297, 0xffffffff, 0x5f169b06},
      {0x548c9decbce65297, 1ULL << 32, 0x122e80b3}, {0x548c9decbce65297, ~0ULL, 0x434506a4},
      {0xc8e4fd154ce32f6c, 0, 0x800c823e},  // an even key is made odd
      {0xc8e4fd154ce32f6c, 2, 0xeee77e31},          {0xc8e4fd154ce32f6c, ~0ULL, 0xa3c3ef54},
  };
  for (const auto& [key, counter, bits] : vectors)
    EXPECT_EQ(kd::random_bits({key}, counter), bits) << key << " " << counter;
}

TEST(RandomKey, DependsOnEveryPartAndTheirOrder) {
  const kd::RandomKey key{7};
  std::set<std::uint64_t> keys = {key.bits,
                                  key.with(1).bits,
                                  key.with(2).bits,
                                  key.with(1).with(2).bits,
                                  key.with(2).with(1).bits,
                                  key.with("crop").bits,
                                  key.with("flip").bits,
                                  kd::RandomKey{8}.with(1).bits};
  EXPECT_EQ(keys.size(), 8U);
  // Computed in Python; it must never change, or finished runs could not be reproduced.
  EXPECT_EQ(key.with(3).with("crop").bits, 0x675a2c7f1a1a5e03ULL);
  EXPECT_EQ(kd::random_bits(key.with(3).with("crop"), 5), 0x3624e6baU);
}

TEST(RandomUniform, IsAMultipleOfTwoToTheMinus24BelowOne) {
  for (std::uint64_t i = 0; i < 10000; ++i) {
    const float u = kd::random_uniform(kKey, i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ASSERT_EQ(u * 0x1p24f, static_cast<float>(kd::random_bits(kKey, i) >> 8));
  }
}

/// χ² of counts against equal shares.
double chi_square(const std::vector<int>& counts, int draws) {
  const double expected = static_cast<double>(draws) / static_cast<double>(counts.size());
  double sum = 0;
  for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

// χ² has mean k − 1 and variance 2 (k − 1); the keys are fixed, so these tests give the same answer every time.
void expect_uniform(const std::vector<int>& counts, int draws) {
  const double freedom = static_cast<double>(counts.size()) - 1;
  EXPECT_NEAR(chi_square(counts, draws), freedom, 4 * std::sqrt(2 * freedom));
}

TEST(RandomUniform, FillsTheIntervalEvenly) {
  constexpr int kDraws = 200000;
  std::vector<int> counts(100);
  for (int i = 0; i < kDraws; ++i) {
    ++counts[static_cast<std::size_t>(kd::random_uniform(kKey, static_cast<std::uint64_t>(i)) * 100)];
  }
  expect_uniform(counts, kDraws);
}

TEST(RandomUniform, IsIndependentFromOneCounterToTheNext) {
  constexpr int kDraws = 200000;
  std::vector<int> pairs(16 * 16);
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    ++pairs[(kd::random_bits(kKey, 2 * i) >> 28) * 16 + (kd::random_bits(kKey, 2 * i + 1) >> 28)];
  }
  expect_uniform(pairs, kDraws);
}

TEST(RandomUniform, IsIndependentFromOneKeyToTheNext) {
  constexpr int kDraws = 200000;
  std::vector<int> pairs(16 * 16);
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    ++pairs[(kd::random_bits(kKey.with(i), 0) >> 28) * 16 + (kd::random_bits(kKey.with(i + 1), 0) >> 28)];
  }
  expect_uniform(pairs, kDraws);
}

TEST(RandomBelow, StaysInItsRangeAndCoversItEvenly) {
  constexpr int kDraws = 90000;
  std::vector<int> counts(9);
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    const std::uint32_t drawn = kd::random_below(kKey, i, 9);
    ASSERT_LT(drawn, 9U);
    ++counts[drawn];
  }
  expect_uniform(counts, kDraws);
}

TEST(RandomBelow, HandlesTheEndsOfItsRange) {
  for (std::uint64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(kd::random_below(kKey, i, 1), 0U);
    EXPECT_LT(kd::random_below(kKey, i, 0xffffffff), 0xffffffff);
  }
}

// Usable where a constant is wanted.
static_assert(kd::random_below(kKey, 3, 10) < 10);

}  // namespace
