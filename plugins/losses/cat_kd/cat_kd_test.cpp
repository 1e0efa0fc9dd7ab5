// Tests of the loss "cat_kd"; its values are held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

TEST(ClassAttention, IsSound) {
  expect_sound("cat_kd");
  expect_sound("cat_kd", "normalize = true, resolution = 1");
}

TEST(ClassAttention, AtOnePlaceComparesTheLogitsOfTheHead) {
  Setting setting("cat_kd", "resolution = 1", wider());
  setting.make_double();
  LinearHead of_student(6), of_teacher(9);
  const at::Tensor s = of_student.head(setting.student["stage3"], "stage3");
  const at::Tensor t = of_teacher.head(setting.teacher["stage3"], "stage3");
  EXPECT_NEAR(setting.value().item<double>(), (s - t).square().mean().item<double>(), 1e-12);
}

TEST(ClassAttention, OfNormalisedMapsDoesNotSeeAFactor) {
  Setting setting("cat_kd", "normalize = true", equal());
  setting.make_double();
  setting.teacher["stage3"] = setting.student["stage3"] * 3;
  EXPECT_NEAR(setting.value().item<double>(), 0, 1e-20);
}

}  // namespace
