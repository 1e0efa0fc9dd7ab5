// Tests of the scheme "supervised".
#include "kd/testing/stages.h"

namespace {

namespace fakes = kd::testing::fakes;

TEST(Supervised, MinimisesTheCrossEntropyByDefault) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage("{ type = 'supervised' }", device);
    const std::vector<kd::Term> terms = stage.step();
    ASSERT_EQ(fakes::names(terms), fakes::Names({"cross_entropy"}));
    EXPECT_EQ(terms[0].weight, 1);
    EXPECT_NEAR(terms[0].value.item<double>(),
                fakes::cross_entropy(stage.network.classifier.logits(stage.batch.images)), 1e-5);
    EXPECT_TRUE(terms[0].value.requires_grad());
  }
}

TEST(Supervised, MakesOneUpdateOfItsNetworkPerStep) {
  fakes::Stage stage("{ type = 'supervised' }");
  stage.step(0);
  stage.step(1);
  ASSERT_EQ(stage.updater.updates.size(), 2U);
  EXPECT_EQ(stage.updater.updates[0].first, &stage.network);
  ASSERT_EQ(stage.network.seen_images.size(), 2U);
  EXPECT_TRUE(stage.network.seen_images[0].is_same(stage.batch.images));
}

TEST(Supervised, LeavesTheTeacherAlone) {
  fakes::Stage stage("{ type = 'supervised', losses = [{ type = 'recorder', teacher = false }] }");
  stage.step();
  EXPECT_TRUE(stage.teacher.seen_batches.empty());
  EXPECT_EQ(stage.teacher.forward_passes, 0);
  EXPECT_FALSE(fakes::Recorder::seen.teacher_logits.defined());
  const kd::Roles roles = kd::registered_components().roles("scheme", "supervised");
  EXPECT_EQ(roles.most_teachers, 0);
  EXPECT_EQ(roles.most_networks, 1);
}

TEST(Supervised, WeighsAndNamesItsLosses) {
  fakes::Stage stage(
      "{ type = 'supervised', losses = [{ type = 'cross_entropy', weight = 0.25 }, { type = 'recorder', teacher = "
      "false }, "
      "{ type = 'cross_entropy', label_smoothing = 0.5, weight = 3 }, { type = 'recorder', teacher = false, weight = 0 "
      "}] }");
  const std::vector<kd::Term> terms = stage.step();
  EXPECT_EQ(fakes::names(terms), fakes::Names({"cross_entropy", "recorder", "cross_entropy_2"}));
  EXPECT_EQ(fakes::weights(terms), std::vector<double>({0.25, 1, 3}));
}

TEST(Supervised, FollowsTheScheduleOfAWeight) {
  fakes::Stage stage(
      "{ type = 'supervised', losses = [{ type = 'recorder', teacher = false }, "
      "{ type = 'cross_entropy', weight = { type = 'linear', from = 2, to = 0 } }] }");
  EXPECT_EQ(fakes::weights(stage.step(0)), std::vector<double>({1, 2}));
  EXPECT_EQ(fakes::weights(stage.step(5)), std::vector<double>({1, 1.5}));
  EXPECT_EQ(fakes::names(stage.step(20)), fakes::Names({"recorder"}));
}

TEST(Supervised, GivesItsLossesWhatTheyNeed) {
  fakes::Stage stage("{ type = 'supervised', losses = [{ type = 'recorder', teacher = false }] }");
  EXPECT_EQ(fakes::Recorder::context.classes, fakes::kClasses);
  EXPECT_EQ(fakes::Recorder::context.samples, fakes::kSamples);
  ASSERT_EQ(stage.required.size(), 1U);
  EXPECT_EQ(stage.required[0].first, &stage.network);
  EXPECT_EQ(stage.required[0].second.student_taps, kd::TapRequest({"stage1"}));
  stage.step(7);
  const fakes::Seen& seen = fakes::Recorder::seen;
  EXPECT_TRUE(seen.student_tap.is_same(seen.student_logits));
  EXPECT_TRUE(seen.student_logits.equal(stage.network.classifier.logits(stage.batch.images)));
  EXPECT_TRUE(seen.labels.is_same(stage.batch.targets.labels));
  EXPECT_TRUE(seen.index.is_same(stage.batch.index));
  EXPECT_EQ(seen.step, 7);
}

TEST(Supervised, TrainsTheAdaptersOfItsLosses) {
  fakes::Stage stage(
      "{ type = 'supervised', losses = [{ type = 'cross_entropy' }, { type = 'recorder', teacher = false }, { type = "
      "'recorder', teacher = false }] }");
  ASSERT_EQ(stage.adapters.size(), 2U);
  EXPECT_EQ(stage.adapters[0].first, &stage.network);
  EXPECT_EQ(stage.adapters[0].second.module->name(), "adapter");
  EXPECT_NE(stage.adapters[0].second.module, stage.adapters[1].second.module);
}

}  // namespace
