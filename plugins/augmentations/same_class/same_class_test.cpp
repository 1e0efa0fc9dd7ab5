// Tests of the augmentation "same_class".
#include <ATen/ops/arange.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/tensor.h>

#include "kd/testing/augmentations.h"

namespace {

TEST(SameClass, DrawsAnotherSampleOfTheClass) {
  const auto augmentation = kd::testing::make("same_class");
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor index = at::arange(200, at::TensorOptions(device).dtype(at::kLong));
    // Two sets one after the other: classes that alternate, then classes of unequal size with unlabelled samples.
    for (const at::Tensor& labels : {index.remainder(7), (index * index).remainder(11) - 1}) {
      for (std::uint64_t epoch = 0; epoch < 5; ++epoch) {
        const at::Tensor companions = augmentation->extra_samples(index, labels, kd::testing::kKey.with(epoch));
        EXPECT_TRUE(labels.index_select(0, companions).equal(labels));
        EXPECT_TRUE(companions.ne(index).all().item<bool>());
      }
    }
  }
}

TEST(SameClass, DrawsAllOthersEvenly) {
  const auto augmentation = kd::testing::make("same_class");
  const at::Tensor labels = at::tensor({1L, 0L, 1L, 1L, 0L, 1L, 2L});
  for (const std::int64_t sample : {0, 2, 5}) {
    std::vector<double> counts(7, 0);
    for (std::uint64_t epoch = 0; epoch < 3000; ++epoch) {
      const at::Tensor companion =
          augmentation->extra_samples(at::tensor({sample}), labels, kd::testing::kKey.with(epoch));
      counts[static_cast<std::size_t>(companion.item<std::int64_t>())] += 1;
    }
    for (const std::int64_t other : {0, 2, 3, 5}) {
      EXPECT_NEAR(counts[static_cast<std::size_t>(other)], other == sample ? 0 : 1000, other == sample ? 0 : 90);
    }
  }
}

TEST(SameClass, GivesTheOnlyOneOfAClassItself) {
  const at::Tensor labels = at::tensor({1L, 0L, 1L, 2L});
  for (const std::int64_t alone : {1, 3}) {
    const at::Tensor companion =
        kd::testing::make("same_class")->extra_samples(at::tensor({alone}), labels, kd::testing::kKey);
    EXPECT_EQ(companion.item<std::int64_t>(), alone);
  }
}

TEST(SameClass, DoesNotDependOnTheBatch) {
  const auto augmentation = kd::testing::make("same_class");
  const at::Tensor labels = at::arange(100).remainder(5);
  const at::Tensor index = (at::arange(60) * 7 + 2).remainder(100);
  const at::Tensor whole = augmentation->extra_samples(index, labels, kd::testing::kKey);
  EXPECT_TRUE(
      augmentation->extra_samples(index.narrow(0, 20, 30), labels, kd::testing::kKey).equal(whole.narrow(0, 20, 30)));
  EXPECT_FALSE(augmentation->extra_samples(index, labels, kd::testing::kKey.with(1)).equal(whole));
}

TEST(SameClass, AddsTheCompanionsAsAView) {
  const auto augmentation = kd::testing::make("same_class");
  kd::Batch batch = kd::testing::batch_on(at::kCPU, 4, 1, 2, 2);
  const at::Tensor images = batch.images.clone();
  batch.extra_sample_images = at::full_like(images, 9);
  augmentation->apply(batch, kd::testing::kKey);
  EXPECT_TRUE(batch.images.equal(images));
  ASSERT_EQ(batch.extra_views.size(), 1U);
  EXPECT_EQ(batch.extra_views[0].name, "same_class");
  EXPECT_TRUE(batch.extra_views[0].images.eq(9).all().item<bool>());
  EXPECT_EQ(augmentation->view_names(), std::vector<std::string>{"same_class"});
  EXPECT_EQ(augmentation->views(), 1);  // the images themselves stay
}

}  // namespace
