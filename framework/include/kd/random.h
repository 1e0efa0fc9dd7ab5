// Counter-based randomness: a random number is a pure function of a key and a counter, never of what was drawn before.
//
// The order of samples and the view of a sample so depend on nothing but the recipe, which gives exact resume and the
// same bits for any number of threads. Generator: "squares", B. Widynski, arXiv 2004.06278 (four rounds, 32 bits).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace kd {

/// SplitMix64's output function (Steele, Lea and Flood, 2014): spreads every input bit over the whole word.
constexpr std::uint64_t mix_bits(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// FNV-1a of a name, to make it part of a key.
constexpr std::uint64_t hash_name(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

/// What a stream of random numbers is for. `with` gives the key of a part: key.with(epoch).with("crop"). Draw from a
/// key that `with` made: the bits of a raw small number are no good key.
struct RandomKey {
  std::uint64_t bits = 0;

  constexpr RandomKey with(std::uint64_t part) const { return {mix_bits(bits ^ mix_bits(part))}; }
  constexpr RandomKey with(std::string_view purpose) const { return with(hash_name(purpose)); }
};

/// 32 uniform random bits for `counter` under `key`.
constexpr std::uint32_t random_bits(RandomKey key, std::uint64_t counter) {
  const std::uint64_t k = key.bits | 1;
  const auto swap_halves = [](std::uint64_t x) { return (x >> 32) | (x << 32); };
  std::uint64_t x = counter * k;
  const std::uint64_t y = x;
  const std::uint64_t z = y + k;
  x = swap_halves(x * x + y);
  x = swap_halves(x * x + z);
  x = swap_halves(x * x + y);
  return static_cast<std::uint32_t>((x * x + z) >> 32);
}

/// Uniform in [0, 1), a multiple of 2^-24, so that it is exact in fp32 also.
constexpr float random_uniform(RandomKey key, std::uint64_t counter) {
  return static_cast<float>(random_bits(key, counter) >> 8) * 0x1p-24f;
}

/// Uniform in {0, …, count − 1}; the bias is below count · 2^-32.
constexpr std::uint32_t random_below(RandomKey key, std::uint64_t counter, std::uint32_t count) {
  return static_cast<std::uint32_t>((static_cast<std::uint64_t>(random_bits(key, counter)) * count) >> 32);
}

}  // namespace kd
