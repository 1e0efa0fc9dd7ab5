// Tests of the augmentation "resize".
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "kd/augmentation.h"
#include "kd/diagnostics.h"
#include "kd/plugin.h"
#include "kd/random.h"

namespace {

/// The pattern of make_golden.py.
at::Tensor pattern(std::int64_t height, std::int64_t width) {
  at::Tensor image = at::empty({3, height, width}, at::kByte);
  auto pixels = image.accessor<std::uint8_t, 3>();
  for (std::int64_t c = 0; c < 3; ++c) {
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x)
        pixels[c][y][x] = static_cast<std::uint8_t>((x * 7 + y * 13 + c * 29 + x * y) % 256);
    }
  }
  return image;
}

std::uint64_t hash_of(const at::Tensor& image) {
  const at::Tensor bytes = image.contiguous();
  return kd::hash_name({static_cast<const char*>(bytes.const_data_ptr()), static_cast<std::size_t>(bytes.numel())});
}

std::unique_ptr<kd::Augmentation> make(const std::string& parameters) {
  kd::load_plugins();
  return kd::make<kd::Augmentation>("{ type = 'resize', " + parameters + " }");
}

const kd::Sizing& sizing(const std::unique_ptr<kd::Augmentation>& augmentation) {
  return dynamic_cast<const kd::Sizing&>(*augmentation);
}

TEST(Resize, HasTheBytesOfPillowAtThePlacesOfTorchvision) {
  struct Golden {
    std::int64_t height, width, size, crop;
    std::string interpolation;
    std::uint64_t hash;
  };
  const Golden all[] = {
      {41, 29, 16, 16, "bilinear", 0xf647f5fd9b665785},  {29, 41, 20, 13, "bicubic", 0x1c3282a5414b7679},
      {30, 30, 45, 32, "bilinear", 0x8f26b2db4134c7ab},  {7, 50, 9, 8, "nearest", 0x179d75017d2f8c4d},
      {224, 150, 96, 84, "bicubic", 0xbf470298087cd953},
  };
  for (const Golden& one : all) {
    const auto resize = make("size = " + std::to_string(one.size) + ", crop = " + std::to_string(one.crop) +
                             ", interpolation = '" + one.interpolation + "'");
    const at::Tensor image = pattern(one.height, one.width);
    const at::Tensor sized = sizing(resize).size_in_training(image, {});
    EXPECT_EQ(hash_of(sized), one.hash) << one.height << 'x' << one.width;
    EXPECT_TRUE(sized.equal(sizing(resize).size_in_evaluation(image)));
    EXPECT_EQ(sizing(resize).extent().height, one.crop);
    EXPECT_EQ(sizing(resize).extent().width, one.crop);
  }
}

TEST(Resize, StretchesTheWholeImage) {
  const auto resize = make("size = 24, fit = 'stretch'");
  EXPECT_EQ(hash_of(sizing(resize).size_in_evaluation(pattern(41, 29))), 0x5e067cbc44aaef7f);
  EXPECT_EQ(resize->views(), 1);
}

TEST(Resize, RefusesACropThatIsNotInTheImage) {
  EXPECT_THROW(make("size = 10, crop = 11"), kd::RecipeError);
  EXPECT_THROW(make("size = 10, crop = 5, fit = 'stretch'"), kd::RecipeError);
}

}  // namespace
