// The counter-based generator of kd/random.h on whole tensors: the same numbers on every device, whatever the batch;
// uniform numbers and integers to the bit, those with a logarithm in them as a GPU rounds it.
//
// While a batch is augmented, what is drawn for `batch.index` or for common_counter(batch.index) is looked up on a GPU:
// the engine draws once per epoch for the whole training set, normal and beta numbers on the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include "kd/api.h"
#include "kd/random.h"

namespace kd {

/// Uniform in [0, 1), float, N×lanes: entry (i, j) depends on the key, on counters[i] (int64, N) and on j alone.
KD_API at::Tensor random_uniform(RandomKey key, const at::Tensor& counters, std::int64_t lanes);

/// Uniform integers in {0, …, count − 1}, int64, N×lanes; entry (i, j) depends on the key, on counters[i] and on j
/// alone. `count` is below 2^32.
KD_API at::Tensor random_below(RandomKey key, const at::Tensor& counters, std::int64_t lanes, std::int64_t count);

/// Standard normal numbers, float, N×lanes; entry (i, j) depends on the key, on counters[i] and on j alone.
KD_API at::Tensor random_normal(RandomKey key, const at::Tensor& counters, std::int64_t lanes);

/// Beta(alpha, beta) numbers in [0, 1], float, N; entry i depends on the key and on counters[i] alone. Both parameters
/// are above 0.
KD_API at::Tensor random_beta(RandomKey key, const at::Tensor& counters, double alpha, double beta);

/// A counter that the members of a batch have in common, int64, 1: the least of them.
KD_API at::Tensor common_counter(const at::Tensor& counters);

/// An order of the batch, int64, N: a permutation that depends on the key and on the members of `counters` alone.
KD_API at::Tensor random_permutation(RandomKey key, const at::Tensor& counters);

/// Dropout (Srivastava et al., 2014) with a mask from `key`: each element is zero with probability `p`, the others are
/// divided by 1 − p. Differentiable. Returns `input` itself where `p` is 0.
KD_API at::Tensor dropout(const at::Tensor& input, double p, RandomKey key);

}  // namespace kd
