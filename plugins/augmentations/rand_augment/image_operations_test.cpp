// Tests of plugins/augmentations/shared/image_operations.h against what PIL makes of the same images.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <vector>

#include "../shared/apply_operations.h"
#include "../shared/pil_golden.h"
#include "kd/testing/basics.h"

namespace {

using image_operations::Choice;
using image_operations::Interpolation;
using image_operations::Operation;
using image_operations::PilGolden;

/// The images of make_pil_golden.py.
at::Tensor image(std::size_t number) {
  constexpr std::int64_t kShapes[][3] = {{3, 20, 20}, {3, 24, 24}, {3, 32, 32}, {3, 8, 8}, {3, 18, 25}, {1, 20, 22}};
  const auto& shape = kShapes[number];
  const at::Tensor result = at::empty({1, shape[0], shape[1], shape[2]}, at::kByte);
  auto* pixel = result.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t c = 0; c < shape[0]; ++c) {
    for (std::int64_t y = 0; y < shape[1]; ++y) {
      for (std::int64_t x = 0; x < shape[2]; ++x) {
        const auto place = static_cast<std::uint64_t>(x * 7919 + y * 104729 + c * 1299709 + 1);
        const auto noise = static_cast<std::int64_t>((place * 2654435761 & 0xffffffff) >> 24);
        const std::int64_t values[] = {
            noise, 90 + noise / 5, x * 3 + y * 5 + c * 20, noise < 128 ? 40 : 200 - c * 80, noise, noise * noise / 512};
        *pixel++ = static_cast<std::uint8_t>(values[number]);
      }
    }
  }
  return result;
}

/// FNV-1a, 32 bits.
std::uint32_t checksum(const at::Tensor& bytes) {
  std::uint32_t value = 0x811c9dc5;
  for (std::int64_t i = 0; i < bytes.numel(); ++i) {
    value = (value ^ bytes.const_data_ptr<std::uint8_t>()[i]) * 0x01000193;
  }
  return value;
}

/// All of one interpolation, as one batch.
std::vector<PilGolden> goldens(bool bilinear) {
  std::vector<PilGolden> result;
  for (const PilGolden& golden : image_operations::kPilGoldens) {
    if (golden.bilinear == bilinear) result.push_back(golden);
  }
  return result;
}

Choice choice_of(const std::vector<PilGolden>& goldens, const at::Device& device) {
  std::vector<std::int64_t> operations;
  std::vector<double> magnitudes;
  for (const PilGolden& golden : goldens) {
    operations.push_back(static_cast<std::int64_t>(golden.operation));
    magnitudes.push_back(golden.magnitude);
  }
  return {at::tensor(operations).to(device).unsqueeze(1), at::tensor(magnitudes).to(device).unsqueeze(1)};
}

void expect_golden(const at::Tensor& results, const std::vector<PilGolden>& goldens, std::size_t number) {
  const at::Tensor images = results.cpu().contiguous();
  for (std::size_t i = 0; i < goldens.size(); ++i) {
    EXPECT_EQ(checksum(images[static_cast<std::int64_t>(i)]), goldens[i].checksums[number])
        << "operation " << static_cast<int>(goldens[i].operation) << " at " << goldens[i].magnitude << " on image "
        << number;
  }
}

TEST(ImageOperations, AreThoseOfPilBitForBit) {
  for (const at::Device& device : kd::testing::devices()) {
    for (const auto interpolation : {Interpolation::kNearest, Interpolation::kBilinear}) {
      const std::vector<PilGolden> wanted = goldens(interpolation == Interpolation::kBilinear);
      const Choice choice = choice_of(wanted, device);
      for (std::size_t number = 0; number < 6; ++number) {
        const at::Tensor images = image(number).to(device).expand({choice.operation.size(0), -1, -1, -1});
        expect_golden(image_operations::apply_by_tensor(images, choice, interpolation, 0), wanted, number);
        if (device.is_cpu()) {
          expect_golden(image_operations::apply_by_image(images, choice, interpolation, 0), wanted, number);
        }
      }
    }
  }
}

Choice choice_of(Operation operation, double magnitude, const at::Tensor& images) {
  const at::TensorOptions options = images.options();
  return {at::full({images.size(0), 1}, static_cast<std::int64_t>(operation), options.dtype(at::kLong)),
          at::full({images.size(0), 1}, magnitude, options.dtype(at::kDouble))};
}

TEST(ImageOperations, ChooseForEachSample) {
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor images = kd::testing::byte_batch(15, 3, 20, 20, 10).images.to(device);
    Choice choice = choice_of(Operation::kIdentity, 0.5, images);
    choice.operation = at::arange(15, choice.operation.options()).unsqueeze(1);  // each once
    choice.magnitude = at::where(choice.is(Operation::kPosterize), 3.0, choice.magnitude);
    for (const auto interpolation : {Interpolation::kNearest, Interpolation::kBilinear}) {
      const at::Tensor all = image_operations::apply_operations(images, choice, interpolation, 7);
      for (std::int64_t n = 0; n < 15; ++n) {
        const at::Tensor alone =
            image_operations::apply_by_tensor(images.narrow(0, n, 1), choice.of(n, 1), interpolation, 7);
        EXPECT_TRUE(all.narrow(0, n, 1).equal(alone)) << n;
      }
    }
  }
}

TEST(ImageOperations, MakeOneStepAfterAnother) {
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor images = kd::testing::byte_batch(15, 3, 11, 13, 10).images.to(device);
    const at::Tensor number = at::arange(15, at::TensorOptions(device).dtype(at::kLong));
    const at::Tensor operation = at::stack({number, (number * 4 + 1).remainder(15), (number * 7 + 5).remainder(15)}, 1);
    const Choice choice{operation, (operation.to(at::kDouble) * 3 + 1).remainder(5)};
    for (const auto interpolation : {Interpolation::kNearest, Interpolation::kBilinear}) {
      at::Tensor in_turn = images;
      for (std::int64_t step = 0; step < 3; ++step) {
        const Choice one{operation.narrow(1, step, 1), choice.magnitude.narrow(1, step, 1)};
        in_turn = image_operations::apply_operations(in_turn, one, interpolation, 7);
      }
      EXPECT_TRUE(image_operations::apply_operations(images, choice, interpolation, 7).equal(in_turn));
      EXPECT_TRUE(image_operations::apply_by_tensor(images, choice, interpolation, 7).equal(in_turn));
      // A few images at a time, where not all fit memory.
      EXPECT_TRUE(image_operations::apply_by_tensor(images, choice, interpolation, 7, 200'000).equal(in_turn));
      EXPECT_TRUE(image_operations::apply_by_tensor(images, choice, interpolation, 7, 1).equal(in_turn));
    }
  }
}

TEST(ImageOperations, AreTheSameWhereOthersAreImpossible) {
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor images = kd::testing::byte_batch(4, 3, 9, 9, 10).images.to(device);
    for (std::int64_t number = 0; number < 15; ++number) {
      const auto operation = static_cast<Operation>(number);
      const Choice choice = choice_of(operation, 2.5, images);
      const Choice alone{choice.operation, choice.magnitude, {operation}};
      const at::Tensor expected = image_operations::apply_by_tensor(images, choice, Interpolation::kBilinear, 7);
      EXPECT_TRUE(image_operations::apply_by_tensor(images, alone, Interpolation::kBilinear, 7).equal(expected));
    }
  }
}

TEST(ImageOperations, FillWhatComesFromOutside) {
  for (const at::Device& device : kd::testing::devices()) {
    const at::Tensor images = at::full({1, 3, 4, 4}, 200, at::TensorOptions(device).dtype(at::kByte));
    const Choice shift = choice_of(Operation::kTranslateX, 1, images);
    for (const auto interpolation : {Interpolation::kNearest, Interpolation::kBilinear}) {
      const at::Tensor result = image_operations::apply_operations(images, shift, interpolation, 9);
      EXPECT_TRUE(result.narrow(3, 3, 1).eq(9).all().item<bool>());
      EXPECT_TRUE(result.narrow(3, 0, 3).eq(200).all().item<bool>());
    }
  }
}

TEST(ImageOperations, WantBytesOfOneOrThreeChannels) {
  EXPECT_THROW(image_operations::require_bytes(at::empty({1, 3, 4, 4}), "this"), kd::Error);
  EXPECT_THROW(image_operations::require_bytes(at::empty({1, 2, 4, 4}, at::kByte), "this"), kd::Error);
  EXPECT_NO_THROW(image_operations::require_bytes(at::empty({1, 1, 4, 4}, at::kByte), "this"));
}

}  // namespace
