// Tests of the augmentation "mixup".
#include "kd/testing/augmentations.h"

namespace {

kd::Batch mixed(const std::string& parameters, kd::Batch batch, kd::RandomKey key = kd::testing::kKey) {
  kd::testing::make("mixup", parameters)->apply(batch, key);
  return batch;
}

TEST(Mixup, FollowsTheDefinition) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const auto* parameters :
         {"", ", per = 'sample'", ", share = 0.5", ", share = 0.5, sampling = 'with_replacement'"}) {
      const kd::Batch before = kd::testing::batch_on(device, 12, 2, 3, 4);
      const kd::Batch after = mixed(parameters, before);
      const at::Tensor bytes = before.images.cpu(), images = after.images.cpu();
      EXPECT_TRUE(after.plain_images.equal(before.images));
      EXPECT_TRUE(after.targets.labels.equal(before.targets.labels));
      for (std::int64_t n = 0; n < 12; ++n) {
        const double weight = kd::testing::number(after.targets.weight, n);
        const auto partner =
            static_cast<std::int64_t>(kd::testing::number(after.targets.partner, n));  // labels are rows
        for (std::int64_t i = 0; i < 24; ++i) {
          const double expected =
              weight * kd::testing::number(bytes[n], i) + (1 - weight) * kd::testing::number(bytes[partner], i);
          EXPECT_NEAR(kd::testing::number(images[n], i), expected / 255, 1e-6) << parameters;
        }
      }
    }
  }
}

TEST(Mixup, TakesEachSampleOnceAsPartner) {
  const kd::Batch after = mixed("", kd::testing::batch_on(at::kCPU, 50, 1, 1, 1));
  EXPECT_TRUE(std::get<0>(after.targets.partner.sort()).equal(after.index));
  EXPECT_FALSE(after.targets.partner.equal(after.index));
}

TEST(Mixup, DrawsOneWeightForTheBatchOrForEachSample) {
  const kd::Batch batch = kd::testing::batch_on(at::kCPU, 20, 1, 1, 1);
  const at::Tensor of_batch = mixed("", batch).targets.weight;
  EXPECT_TRUE(of_batch.eq(of_batch[0]).all().item<bool>());
  EXPECT_FALSE(mixed("", batch, kd::testing::kKey.with(1)).targets.weight.equal(of_batch));
  EXPECT_GT(mixed(", per = 'sample'", batch).targets.weight.std().item<double>(), 0.1);
}

TEST(Mixup, DrawsWeightsFromTheBetaDistribution) {
  const kd::Batch batch = kd::testing::batch_on(at::kCPU, 2500, 1, 1, 1);
  for (const double alpha : {0.3, 1.0, 4.0}) {
    const at::Tensor weight = mixed(", per = 'sample', alpha = " + std::to_string(alpha), batch).targets.weight;
    EXPECT_NEAR(weight.mean().item<double>(), 0.5, 0.02);
    EXPECT_NEAR(weight.var().item<double>(), 1 / (4 * (2 * alpha + 1)), 0.008);
  }
}

TEST(Mixup, MixesExactlyTheShare) {
  const kd::Batch before = kd::testing::batch_on(at::kCPU, 64, 1, 2, 2);
  for (const auto& [share, count] : {std::pair(0.1, 6), {0.5, 32}, {0.0, 0}, {1.0, 64}}) {
    const kd::Batch after = mixed(", share = " + std::to_string(share), before);
    const at::Tensor rest = after.targets.weight.eq(1).nonzero().squeeze(1);
    EXPECT_EQ(rest.size(0), 64 - count);
    EXPECT_TRUE(after.images.index_select(0, rest).equal(kd::to_float(before.images).index_select(0, rest)));
    EXPECT_TRUE(after.targets.partner.index_select(0, rest).equal(before.targets.labels.index_select(0, rest)));
  }
  const at::Tensor once = mixed(", share = 0.5", before).targets.weight.eq(1);
  EXPECT_FALSE(once.equal(mixed(", share = 0.5", before, kd::testing::kKey.with(1)).targets.weight.eq(1)));
}

TEST(Mixup, WithReplacementMixesMoreThanTheShare) {
  const auto mixup = kd::testing::make("mixup", ", share = 0.1, sampling = 'with_replacement'");
  double mixed_share = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    kd::Batch batch = kd::testing::batch_on(at::kCPU, 64, 1, 1, 1);
    mixup->apply(batch, kd::testing::kKey.with(i));
    mixed_share += batch.targets.weight.lt(1).to(at::kDouble).mean().item<double>() / 200;
  }
  EXPECT_NEAR(mixed_share, 0.4075, 0.012);  // (1 − 1/64)^57
}

TEST(Mixup, DependsOnTheMembersOfTheBatchAlone) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const auto* parameters : {", share = 0.5", ", share = 0.5, sampling = 'with_replacement', per = 'sample'"}) {
      kd::testing::expect_same_by_rows(*kd::testing::make("mixup", parameters),
                                       kd::testing::batch_on(device, 30, 1, 2, 2), 1);
    }
  }
}

TEST(Mixup, MixesExtraViewsAlikeAndTakesFloats) {
  kd::Batch batch = kd::testing::batch_on(at::kCPU, 10, 1, 2, 2);
  batch.images = batch.images.to(at::kFloat) * 3 - 7;
  batch.extra_views = {{"other", batch.images.clone()}};
  const kd::Batch after = mixed("", batch);
  EXPECT_TRUE(after.extra_views[0].images.equal(after.images));
  EXPECT_TRUE(after.plain_images.equal(batch.images));
  EXPECT_NEAR(after.images.mean().item<double>(), batch.images.mean().item<double>(), 1e-3);
}

TEST(Mixup, SaysThatItMixesAndRefusesMixedImages) {
  const auto mixup = kd::testing::make("mixup");
  EXPECT_TRUE(mixup->mixes());
  kd::Batch batch = mixed("", kd::testing::batch_on(at::kCPU, 4, 1, 2, 2));
  EXPECT_THROW(mixup->apply(batch, kd::testing::kKey), kd::Error);
}

}  // namespace
