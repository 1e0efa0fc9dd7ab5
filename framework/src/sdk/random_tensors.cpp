// kd/random_tensors.h: a plain loop on the CPU, the same arithmetic as tensor operations elsewhere.
#include "kd/random_tensors.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logical_and.h>

#include <cmath>
#include <numbers>

#include "sdk/draw_tables.h"

namespace kd {
namespace {

constexpr std::int64_t kGrain = 1 << 14;

/// Counter of lane j of a sample: lanes of different samples never meet below 2^16 lanes.
constexpr std::uint64_t lane_counter(std::uint64_t counter, std::uint64_t lane) { return (counter << 16) + lane + 1; }

// The generator of kd/random.h on int64 tensors, which wrap around as unsigned words do; a shift to the right must mask
// the sign.
at::Tensor swap_halves(const at::Tensor& x) { return x.__rshift__(32).__and__(0xffffffffLL).__or__(x.__lshift__(32)); }

/// 32 random bits (as int64) for each counter.
at::Tensor bits_of(RandomKey key, const at::Tensor& counters) {
  const auto k = static_cast<std::int64_t>(key.bits | 1);
  at::Tensor x = counters * k;
  const at::Tensor y = x;
  const at::Tensor z = y + k;
  x = swap_halves(x * x + y);
  x = swap_halves(x * x + z);
  x = swap_halves(x * x + y);
  return (x * x + z).__rshift__(32).__and__(0xffffffffLL);
}

at::Tensor lane_counters(const at::Tensor& counters, std::int64_t lanes) {
  const at::Tensor lane = at::arange(lanes, counters.options());
  return counters.unsqueeze(1).__lshift__(16) + lane.unsqueeze(0) + 1;
}

/// Fills an N×lanes tensor of T with f(counter) on the CPU.
template <class T, class F>
at::Tensor fill(const at::Tensor& counters, std::int64_t lanes, at::ScalarType type, F f) {
  at::Tensor result = at::empty({counters.size(0), lanes}, counters.options().dtype(type));
  const at::Tensor source = counters.contiguous();
  const std::int64_t* in = source.const_data_ptr<std::int64_t>();
  T* out = result.mutable_data_ptr<T>();
  at::parallel_for(0, result.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      out[i] = f(lane_counter(static_cast<std::uint64_t>(in[i / lanes]), static_cast<std::uint64_t>(i % lanes)));
    }
  });
  return result;
}

/// 24 random bits for each counter as numbers in [0, 1).
at::Tensor uniform_of(RandomKey key, const at::Tensor& counters) {
  return bits_of(key, counters).__rshift__(8).to(at::kFloat) * 0x1p-24;
}

}  // namespace

at::Tensor random_uniform(RandomKey key, const at::Tensor& counters, std::int64_t lanes) {
  if (counters.is_cpu()) {
    return fill<float>(counters, lanes, at::kFloat,
                       [key](std::uint64_t counter) { return random_uniform(key, counter); });
  }
  const auto draw = [&](const at::Tensor& all) { return uniform_of(key, lane_counters(all, lanes)); };
  const at::Tensor found = DrawTables::look_up({"uniform", key.bits, lanes, 0, 0}, counters, /*on_host=*/false, draw);
  return found.defined() ? found : draw(counters);
}

at::Tensor random_below(RandomKey key, const at::Tensor& counters, std::int64_t lanes, std::int64_t count) {
  if (counters.is_cpu()) {
    return fill<std::int64_t>(counters, lanes, at::kLong, [key, count](std::uint64_t counter) {
      return static_cast<std::int64_t>(random_below(key, counter, static_cast<std::uint32_t>(count)));
    });
  }
  // The product has 64 bits, which int64 holds as unsigned words do; the shift must mask the sign.
  const auto draw = [&](const at::Tensor& all) {
    return (bits_of(key, lane_counters(all, lanes)) * count).__rshift__(32).__and__(0xffffffffLL);
  };
  const at::Tensor found = DrawTables::look_up({"below", key.bits, lanes, static_cast<double>(count), 0}, counters,
                                               /*on_host=*/false, draw);
  return found.defined() ? found : draw(counters);
}

at::Tensor random_normal(RandomKey key, const at::Tensor& counters, std::int64_t lanes) {
  const auto draw = [&](const at::Tensor& all) {
    const at::Tensor uniform = random_uniform(key, all, 2 * lanes);  // Box and Muller, 1958
    // Contiguous, so that an entry is computed alike whatever stands beside it.
    const at::Tensor radius = uniform.narrow(1, 0, lanes).contiguous().neg().log1p_().mul_(-2).sqrt_();
    return radius.mul_(uniform.narrow(1, lanes, lanes).contiguous().mul(2 * std::numbers::pi).cos_());
  };
  const at::Tensor found = DrawTables::look_up({"normal", key.bits, lanes, 0, 0}, counters, /*on_host=*/true, draw);
  return found.defined() ? found : draw(counters);
}

namespace {

/// Logarithms of Gamma(shape, 1) numbers, double, N: Marsaglia and Tsang, "A simple method for generating gamma
/// variables", 2000, at shape + 1 and scaled down by U^(1/shape). In logarithms, since small shapes underflow.
at::Tensor random_log_gamma(RandomKey key, const at::Tensor& counters, double shape) {
  constexpr std::int64_t kTries = 8;  // each succeeds with over 95 %: all fail once in 10^10 numbers
  const double d = shape + 1 - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  const at::Tensor x = random_normal(key.with("normal"), counters, kTries).to(at::kDouble);
  const at::Tensor uniform = random_uniform(key.with("uniform"), counters, kTries + 1).to(at::kDouble) + 0x1p-25;
  const at::Tensor v = (x * c + 1).clamp_min(1e-30).pow(3);
  const at::Tensor bound = x.square() * 0.5 + d - v * d + v.log() * d;
  const at::Tensor accepted = at::logical_and(x > -1 / c, uniform.narrow(1, 0, kTries).log() < bound);
  const at::Tensor rank = at::arange(kTries, 0, -1, counters.options());
  const at::Tensor first = (accepted.to(at::kLong) * rank).argmax(1, /*keepdim=*/true);
  return (v.gather(1, first) * d).log().squeeze(1) + uniform.select(1, kTries).log() / shape;
}

}  // namespace

at::Tensor random_beta(RandomKey key, const at::Tensor& counters, double alpha, double beta) {
  const auto draw = [&](const at::Tensor& all) {
    const at::Tensor x = random_log_gamma(key.with("alpha"), all, alpha);
    const at::Tensor y = random_log_gamma(key.with("beta"), all, beta);
    return (x - y).sigmoid().to(at::kFloat);
  };
  const at::Tensor found = DrawTables::look_up({"beta", key.bits, 1, alpha, beta}, counters, /*on_host=*/true, draw);
  return found.defined() ? found : draw(counters);
}

at::Tensor common_counter(const at::Tensor& counters) {
  const at::Tensor least = counters.min().view({1});
  if (DrawTables::Use* use = DrawTables::use_of(counters)) use->add(least);
  return least;
}

at::Tensor random_permutation(RandomKey key, const at::Tensor& counters) {
  return random_below(key, counters, 1, (std::int64_t{1} << 32) - 1).squeeze(1).argsort();
}

at::Tensor dropout(const at::Tensor& input, double p, RandomKey key) {
  if (p == 0) return input;
  const auto kept_scale = static_cast<float>(1.0 / (1.0 - p));
  at::Tensor mask;
  if (input.is_cpu()) {
    mask = at::empty(input.sizes(), input.options().dtype(at::kFloat));
    float* out = mask.mutable_data_ptr<float>();
    const auto threshold = static_cast<float>(p);
    at::parallel_for(0, mask.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        out[i] = random_uniform(key, static_cast<std::uint64_t>(i) + 1) < threshold ? 0.0F : kept_scale;
      }
    });
  } else {
    const at::Tensor counters = at::arange(1, input.numel() + 1, input.options().dtype(at::kLong));
    mask = (uniform_of(key, counters) >= static_cast<float>(p)).to(at::kFloat).mul_(kept_scale).view(input.sizes());
  }
  return input * mask.to(input.scalar_type());
}

}  // namespace kd
