// Tests of the augmentation "same_class".
#include <ATen/ops/arange.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/tensor.h>

#include "../shared/augmentation_checks.h"

namespace {

TEST(SameClass, DrawsAnotherSampleOfTheClass) {
  const auto augmentation = checks::make("same_class");
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor index = at::arange(200, at::TensorOptions(device).dtype(at::kLong));
    // Two sets one after the other: classes that alternate, then classes of unequal size with unlabelled samples.
    for (const at::Tensor& labels : {index.remainder(7), (index * index).remainder(11) - 1}) {
      for (std::uint64_t epoch = 0; epoch < 5; ++epoch) {
        const at::Tensor companions = augmentation->companions(index, labels, checks::kKey.with(epoch));
        EXPECT_TRUE(labels.index_select(0, companions).equal(labels));
        EXPECT_TRUE(companions.ne(index).all().item<bool>());
      }
    }
  }
}

TEST(SameClass, DrawsAllOthersEvenly) {
  const auto augmentation = checks::make("same_class");
  const at::Tensor labels = at::tensor({1L, 0L, 1L, 1L, 0L, 1L, 2L});
  for (const std::int64_t sample : {0, 2, 5}) {
    std::vector<double> counts(7, 0);
    for (std::uint64_t epoch = 0; epoch < 3000; ++epoch) {
      const at::Tensor companion = augmentation->companions(at::tensor({sample}), labels, checks::kKey.with(epoch));
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
    const at::Tensor companion = checks::make("same_class")->companions(at::tensor({alone}), labels, checks::kKey);
    EXPECT_EQ(companion.item<std::int64_t>(), alone);
  }
}

TEST(SameClass, DoesNotDependOnTheBatch) {
  const auto augmentation = checks::make("same_class");
  const at::Tensor labels = at::arange(100).remainder(5);
  const at::Tensor index = (at::arange(60) * 7 + 2).remainder(100);
  const at::Tensor whole = augmentation->companions(index, labels, checks::kKey);
  EXPECT_TRUE(augmentation->companions(index.narrow(0, 20, 30), labels, checks::kKey).equal(whole.narrow(0, 20, 30)));
  EXPECT_FALSE(augmentation->companions(index, labels, checks::kKey.with(1)).equal(whole));
}

TEST(SameClass, AddsTheCompanionsAsAView) {
  const auto augmentation = checks::make("same_class");
  kd::Batch batch = checks::batch_on(at::kCPU, 4, 1, 2, 2);
  const at::Tensor images = batch.images.clone();
  batch.companion_images = at::full_like(images, 9);
  augmentation->apply(batch, checks::kKey);
  EXPECT_TRUE(batch.images.equal(images));
  ASSERT_EQ(batch.extra_views.size(), 1U);
  EXPECT_EQ(batch.extra_views[0].name, "same_class");
  EXPECT_TRUE(batch.extra_views[0].images.eq(9).all().item<bool>());
  EXPECT_EQ(augmentation->view_names(), std::vector<std::string>{"same_class"});
  EXPECT_EQ(augmentation->views(), 1);  // the images themselves stay
}

}  // namespace
