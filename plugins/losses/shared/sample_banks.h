// Banks of embeddings, one vector for each training sample, and the samples of other classes that one is contrasted
// with: shared by the losses "crd" and "hkd".
#pragma once

#include <ATen/ops/searchsorted.h>

#include <cmath>
#include <cstdint>
#include <string>

#include "kd/adapters.h"
#include "kd/features.h"
#include "kd/loss.h"
#include "kd/random_tensors.h"
#include "kd/tensor.h"

namespace sample_banks {

/// The samples of each class next to each other.
class ByClass {
 public:
  /// Images without a label count as a class of their own. Leaves its tensors in the adapter, whose device they follow.
  /// Throws RecipeError where the labels are not known or there is one class alone.
  ByClass(const kd::Loss::Context& context, kd::AdapterModule& adapter) : samples_(context.samples) {
    const at::Tensor& labels = context.labels;
    if (!labels.defined()) throw kd::RecipeError("the classes of the training set are not known");
    const at::Tensor order = labels.argsort(/*stable=*/true, 0, /*descending=*/false);
    const at::Tensor sorted = labels.index_select(0, order);
    const at::Tensor begin = at::searchsorted(sorted, labels);
    const at::Tensor count = at::searchsorted(sorted, labels, /*out_int32=*/false, /*right=*/true) - begin;
    if ((count == samples_).all().item<bool>())
      throw kd::RecipeError("every training image is of one class: there is none to contrast it with");
    order_ = adapter.buffer("order", order);
    begin_ = adapter.buffer("begin", begin);
    count_ = adapter.buffer("count", count);
  }

  /// N×K samples of other classes: in the order by class, those before and those behind the sample's own.
  at::Tensor others(kd::RandomKey key, const at::Tensor& index, std::int64_t negatives) const {
    const at::Tensor begin = begin_.index_select(0, index).unsqueeze(1),
                     count = count_.index_select(0, index).unsqueeze(1);
    const at::Tensor draw = kd::random_uniform(key, index, negatives);
    const at::Tensor place = at::minimum((draw * (samples_ - count)).to(at::kLong), samples_ - count - 1);
    const at::Tensor beyond = at::where(place < begin, place, place + count);
    return order_.index_select(0, beyond.flatten()).view(beyond.sizes());
  }

  /// N×1 samples of the same class.
  at::Tensor alike(kd::RandomKey key, const at::Tensor& index) const {
    const at::Tensor draw = kd::random_uniform(key, index, 1).squeeze(1);
    const at::Tensor count = count_.index_select(0, index);
    const at::Tensor place = at::minimum((draw * count).to(at::kLong), count - 1);
    return order_.index_select(0, begin_.index_select(0, index) + place).unsqueeze(1);
  }

 private:
  std::int64_t samples_;
  at::Tensor order_, begin_, count_;
};

/// Rows×columns, uniform in ±bound.
inline at::Tensor uniform(kd::RandomKey key, std::int64_t rows, std::int64_t columns, double bound) {
  const at::Tensor row = at::arange(rows, at::TensorOptions().dtype(at::kLong));
  return (kd::random_uniform(key, row, columns) * 2 - 1) * bound;
}

/// Uniform in ±1/√(width/3), as the authors of CRD begin.
inline at::Tensor first_bank(kd::RandomKey key, std::int64_t samples, std::int64_t width) {
  return uniform(key, samples, width, 1 / std::sqrt(double(width) / 3));
}

/// Moves the vectors of the batch, of all processes, towards its rows, of unit length, and keeps them at that length.
inline void remember(at::Tensor& bank, const at::Tensor& index, const at::Tensor& rows, double momentum,
                     kd::Group& group) {
  const at::NoGradGuard no_gradient;
  const at::Tensor all = group.gather(index), now = group.gather(rows.detach()).to(bank.scalar_type());
  bank.index_copy_(0, all, kd::unit_rows(bank.index_select(0, all) * momentum + now * (1 - momentum)));
}

/// Says what two banks and the scores of `of_sample` bytes a sample take. Throws RecipeError where that of 64 samples
/// is more than is free: banks are cloned once for a step's gradient.
inline void check_memory(const std::string& loss, const kd::Loss::Context& context, std::int64_t width,
                         double of_sample) {
  const auto megabytes = [](double bytes) { return std::to_string(std::llround(bytes / 1e6)) + " MB"; };
  const double bank = 4.0 * double(context.samples) * double(width), step = 4 * bank + 64 * of_sample;
  context.say(loss + ": two banks of " + std::to_string(context.samples) + "×" + std::to_string(width) + " take " +
              megabytes(2 * bank) + ", each sample of a batch " + megabytes(of_sample));
  if (context.free_memory == 0 || step < double(context.free_memory)) return;
  throw kd::RecipeError({},
                        "its banks and the scores of 64 samples take " + megabytes(step) + ", and " +
                            megabytes(double(context.free_memory)) + " are free",
                        "give it fewer 'negatives' or a smaller 'width'");
}

}  // namespace sample_banks
