// What the tests of the augmentations share: batches, and checks that hold for every augmentation of single samples.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "kd/augmentation.h"
#include "kd/plugin.h"
#include "kd/testing/basics.h"

namespace kd::testing {

constexpr kd::RandomKey kKey{20180101};

/// An augmentation from its name and further TOML (", side = 8"), for images of 3×height×width.
inline std::unique_ptr<kd::Augmentation> make(const std::string& name, const std::string& parameters = "",
                                              std::int64_t height = 32, std::int64_t width = 32) {
  kd::load_plugins();
  kd::Augmentation::Context context;
  context.data.channels = 3;
  context.data.height = height;
  context.data.width = width;
  return kd::make<kd::Augmentation>("{ type = '" + name + "'" + parameters + " }", context);
}

/// Random bytes with index and labels 0 … n − 1.
inline kd::Batch batch_on(const at::Device& device, std::int64_t n, std::int64_t channels, std::int64_t height,
                          std::int64_t width) {
  kd::Batch batch = kd::testing::byte_batch(n, channels, height, width, n);
  batch.images = batch.images.to(device);
  batch.index = batch.index.to(device);
  batch.targets.labels = batch.targets.labels.to(device);
  return batch;
}

/// Images that are all `value`.
inline kd::Batch even_batch(std::int64_t n, std::int64_t channels, std::int64_t height, std::int64_t width,
                            std::int64_t value) {
  kd::Batch batch = batch_on(at::kCPU, n, channels, height, width);
  batch.images.fill_(value);
  return batch;
}

inline kd::Batch rows_of(const kd::Batch& batch, const at::Tensor& rows) {
  const auto pick = [&](const at::Tensor& tensor) { return tensor.defined() ? tensor.index_select(0, rows) : tensor; };
  kd::Batch result;
  result.images = pick(batch.images);
  result.plain_images = pick(batch.plain_images);
  result.targets = {pick(batch.targets.labels), pick(batch.targets.partner), pick(batch.targets.weight)};
  result.index = pick(batch.index);
  for (const kd::View& view : batch.extra_views) result.extra_views.push_back({view.name, pick(view.images)});
  result.extra_sample_images = pick(batch.extra_sample_images);
  result.extra_sample_labels = pick(batch.extra_sample_labels);
  return result;
}

inline void expect_same(const kd::Batch& a, const kd::Batch& b) {
  EXPECT_TRUE(a.images.equal(b.images));
  ASSERT_EQ(a.targets.mixed(), b.targets.mixed());
  if (a.targets.mixed()) {
    EXPECT_TRUE(a.plain_images.equal(b.plain_images));
    EXPECT_TRUE(a.targets.partner.equal(b.targets.partner));
    EXPECT_TRUE(a.targets.weight.equal(b.targets.weight));
  }
  ASSERT_EQ(a.extra_views.size(), b.extra_views.size());
  for (std::size_t i = 0; i < a.extra_views.size(); ++i) {
    EXPECT_TRUE(a.extra_views[i].images.equal(b.extra_views[i].images));
  }
}

/// What becomes of `share` of the rows of `batch` in another order, beside what becomes of all of them.
inline void expect_same_by_rows(const kd::Augmentation& augmentation, const kd::Batch& batch, double share) {
  const std::int64_t size = batch.size();
  const auto kept = static_cast<std::int64_t>(share * static_cast<double>(size));
  const at::Tensor rows = (batch.index * 7 + 3).remainder(size).narrow(0, 0, kept);
  kd::Batch whole = batch, part = rows_of(batch, rows);
  augmentation.apply(whole, kKey);
  augmentation.apply(part, kKey);
  expect_same(part, rows_of(whole, rows));
}

/// That a sample gets the same whatever the batch around it, and that all its images are changed alike. The size of the
/// batch has no factor 7.
inline void expect_keyed_by_sample(const kd::Augmentation& augmentation, const kd::Batch& batch) {
  expect_same_by_rows(augmentation, batch, 0.4);
  kd::Batch whole = batch, other_key = batch, many = batch;
  augmentation.apply(whole, kKey);
  augmentation.apply(other_key, kKey.with(1));
  EXPECT_FALSE(whole.images.equal(other_key.images));
  many.plain_images = batch.images.clone();
  many.extra_views = {{"other", batch.images.clone()}};
  augmentation.apply(many, kKey);
  EXPECT_TRUE(many.images.equal(whole.images));
  EXPECT_TRUE(many.plain_images.equal(whole.images));
  EXPECT_TRUE(many.extra_views[0].images.equal(whole.images));
}

/// Entry i of a tensor of any type.
inline double number(const at::Tensor& tensor, std::int64_t i) { return tensor.flatten()[i].item<double>(); }

}  // namespace kd::testing
