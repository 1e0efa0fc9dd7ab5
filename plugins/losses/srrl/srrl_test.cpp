// Tests of the loss "srrl"; its values are held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

TEST(Srrl, IsSound) {
  expect_sound("srrl");
  expect_sound("srrl", "logits = 0.5, features = 2", {equal()});
}

TEST(Srrl, HasTheDeclaredFactors) {
  const auto value = [](const std::string& parameters) {
    Setting setting("srrl", parameters, wider());
    return setting.value().item<double>();
  };
  const double logits = value("logits = 1, features = 0"), features = value("logits = 0, features = 1");
  EXPECT_GT(logits, 0);
  EXPECT_GT(features, 0);
  EXPECT_NEAR(value("logits = 2, features = 3"), 2 * logits + 3 * features, 1e-4);
}

TEST(Srrl, AsksOneHead) { expect_refusal("srrl", "taps = ['stage2', 'stage3']", equal(), "the teacher has one head"); }

}  // namespace
