// Tests of the augmentation "KD_NAME_HERE".
#include "kd/augmentation.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "kd/plugin.h"
#include "kd/testing/basics.h"

namespace {

constexpr kd::RandomKey kKey{7};

/// Eight grey images after the augmentation, on the CPU.
at::Tensor augmented(const std::string& strength, kd::RandomKey key, const at::Device& device, std::int64_t first = 0) {
  kd::load_plugins();
  const auto augmentation = kd::make<kd::Augmentation>("{ type = 'KD_NAME_HERE', strength = " + strength + " }", {});
  kd::Batch batch = kd::testing::byte_batch(8, 1, 4, 4, 2);
  batch.images = batch.images.fill_(127).slice(0, first).to(device);
  batch.index = batch.index.slice(0, first).to(device);
  augmentation->apply(batch, key);
  return batch.images.cpu();
}

TEST(KdClassHere, ShiftsEachImageAsAWholeWithinTheStrength) {
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor shift = augmented("0.25", kKey, device).flatten(1) - 127.0 / 255.0;
    EXPECT_LE(shift.abs().max().item<double>(), 0.25 + 1e-6);
    EXPECT_GT(shift.std().item<double>(), 0.05);
    EXPECT_TRUE(shift.equal(shift.select(1, 0).unsqueeze(1).expand_as(shift)));
  }
}

TEST(KdClassHere, FollowsFromKeyAndSampleAlone) {
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor images = augmented("0.25", kKey, device);
    EXPECT_TRUE(images.slice(0, 3).equal(augmented("0.25", kKey, device, /*first=*/3)));
    EXPECT_FALSE(images.equal(augmented("0.25", kKey.with(1), device)));
  }
}

TEST(KdClassHere, StrengthZeroChangesNothing) {
  EXPECT_NEAR((augmented("0", kKey, at::kCPU) - 127.0 / 255.0).abs().max().item<double>(), 0, 1e-6);
}

}  // namespace
