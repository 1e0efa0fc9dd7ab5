// Tests of the augmentation "trivial_augment"; the operations are tested in shared/image_operations_test.cpp.
#include <set>

#include "kd/testing/augmentations.h"

namespace {

TEST(TrivialAugment, IsKeyedBySample) {
  for (const at::Device& device : kd::testing::devices()) {
    kd::testing::expect_keyed_by_sample(*kd::testing::make("trivial_augment"),
                                        kd::testing::batch_on(device, 30, 3, 12, 10));
  }
}

/// The values that the only pixel of 2000 images takes, from `value`, by one operation.
std::set<std::int64_t> outcomes(const std::string& operation, std::int64_t value) {
  kd::Batch batch = kd::testing::even_batch(2000, 1, 1, 1, value);
  kd::testing::make("trivial_augment", ", operations = ['" + operation + "']")->apply(batch, kd::testing::kKey);
  std::set<std::int64_t> values;
  for (std::int64_t i = 0; i < 2000; ++i) values.insert(batch.images.const_data_ptr<std::uint8_t>()[i]);
  return values;
}

TEST(TrivialAugment, DrawsAllOfTorchvisionsMagnitudes) {
  EXPECT_EQ(outcomes("posterize", 255), (std::set<std::int64_t>{0xff, 0xfe, 0xfc, 0xf8, 0xf0, 0xe0, 0xc0}));
  std::set<std::int64_t> brightness;
  for (int bin = 0; bin <= 30; ++bin) {
    for (const double factor : {1 + 0.99 * bin / 30, 1 - 0.99 * bin / 30}) {
      brightness.insert(static_cast<std::int64_t>(100 * factor + 1e-4));
    }
  }
  EXPECT_EQ(outcomes("brightness", 100), brightness);
  EXPECT_EQ(outcomes("solarize", 254), (std::set<std::int64_t>{254, 1}));
}

TEST(TrivialAugment, MovesByUpTo32Pixels) {
  kd::Batch batch = kd::testing::even_batch(3000, 1, 1, 80, 0);
  batch.images.select(3, 40).fill_(255);
  kd::testing::make("trivial_augment", ", operations = ['translate_x']")->apply(batch, kd::testing::kKey);
  const at::Tensor shift = batch.images.view({3000, 80}).argmax(1) - 40;
  std::set<std::int64_t> expected, actual;
  for (int bin = 0; bin <= 30; ++bin) expected.insert({32 * bin / 30, -(32 * bin / 30)});
  for (std::int64_t i = 0; i < 3000; ++i) actual.insert(shift.const_data_ptr<std::int64_t>()[i]);
  EXPECT_EQ(actual, expected);
}

TEST(TrivialAugment, RefusesFloats) {
  kd::Batch batch = kd::testing::batch_on(at::kCPU, 4, 3, 8, 8);
  batch.images = batch.images.to(at::kFloat);
  EXPECT_THROW(kd::testing::make("trivial_augment")->apply(batch, kd::testing::kKey), kd::Error);
}

}  // namespace
