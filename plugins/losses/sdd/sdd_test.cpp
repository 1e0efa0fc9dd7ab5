// Tests of the loss "sdd"; its values are held against plain PyTorch in tests/torch/compare_losses.py.
#include "kd/testing/feature_losses.h"

namespace {

using namespace kd::testing::features;

TEST(Sdd, IsSound) {
  expect_sound("sdd", "warmup = 0");
  expect_sound("sdd", "form = 'kd', scales = [1, 2]", {wider()});
}

TEST(Sdd, OfWholeImagesIsTheLossOfTheHeadsAnswers) {
  for (const std::string form : {"kd", "dkd"}) {
    Setting setting("sdd", "scales = [1], warmup = 0, form = '" + form + "'", wider());
    setting.make_double();
    LinearHead of_student(6), of_teacher(9);
    Setting logits(form, form == "kd" ? "temperature = 4" : "warmup = 0", wider());
    logits.make_double();
    logits.student["logits"] = of_student.head(setting.student["stage3"], "stage3");
    logits.teacher["logits"] = of_teacher.head(setting.teacher["stage3"], "stage3");
    EXPECT_NEAR(setting.value().item<double>(), logits.value().item<double>(), 1e-10) << form;
  }
}

TEST(Sdd, LeavesOutSamplesWithoutLabel) {
  Setting setting("sdd", "warmup = 0", equal());
  setting.batch.targets.labels = setting.batch.targets.labels * 0 - 1;
  EXPECT_EQ(setting.value().item<double>(), 0);
}

TEST(Sdd, BeginsWithTheWholeImage) { expect_refusal("sdd", "scales = [2, 4]", equal(), "scales begins with 1"); }

}  // namespace
