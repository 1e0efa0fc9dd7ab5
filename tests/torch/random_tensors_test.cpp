// Tests of kd/random_tensors.h: the tensor form gives the bits of the scalar form, on every device.
#include "kd/random_tensors.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "kd/testing.h"

namespace {

const kd::RandomKey kKey = kd::RandomKey{42}.with("test");

TEST(RandomTensors, UniformHasTheBitsOfTheScalarForm) {
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor counters = at::tensor({0, 7, 59999}, at::kLong).to(device);
    const at::Tensor values = kd::random_uniform(kKey, counters, 3).cpu();
    const at::Tensor host = counters.cpu();
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        const auto counter =
            static_cast<std::uint64_t>(host[i].item<std::int64_t>()) * 65536 + static_cast<std::uint64_t>(j) + 1;
        EXPECT_EQ(values[i][j].item<float>(), kd::random_uniform(kKey, counter)) << device;
      }
    }
  }
}

TEST(RandomTensors, BelowCoversItsRangeEvenly) {
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor values = kd::random_below(kKey, at::arange(10000, at::kLong).to(device), 1, 5).cpu();
    const at::Tensor counts = values.flatten().bincount();
    EXPECT_EQ(counts.size(0), 5);
    EXPECT_LT((counts - 2000).abs().max().item<std::int64_t>(), 200);
  }
}

TEST(RandomTensors, DropoutKeepsTheMeanAndIsFixedByItsKey) {
  for (const at::Device device : kd::testing::devices()) {
    const at::Tensor ones = at::ones({200, 500}, device);
    const at::Tensor dropped = kd::dropout(ones, 0.3, kKey);
    EXPECT_NEAR(dropped.mean().item<double>(), 1.0, 0.01);
    EXPECT_NEAR(dropped.eq(0).to(at::kFloat).mean().item<double>(), 0.3, 0.01);
    EXPECT_TRUE(at::equal(dropped, kd::dropout(ones, 0.3, kKey)));
    EXPECT_FALSE(at::equal(dropped, kd::dropout(ones, 0.3, kKey.with(1))));
    EXPECT_TRUE(at::equal(dropped.cpu(), kd::dropout(ones.cpu(), 0.3, kKey)));
    EXPECT_TRUE(kd::dropout(ones, 0.0, kKey).is_same(ones));
  }
}

}  // namespace
