// Tests of the scheme "vanilla_kd".
#include <ATen/ops/cat.h>

#include "kd/testing/stages.h"

namespace {

namespace fakes = kd::testing::fakes;

constexpr double kTemperature = 4;

/// T² · mean over the batch of Σ q ln(q/p), from the definition.
double soft_loss(const at::Tensor& student, const at::Tensor& teacher) {
  return kTemperature * kTemperature *
         fakes::divergence(fakes::probabilities(teacher, kTemperature), fakes::probabilities(student, kTemperature));
}

TEST(VanillaKd, LearnsFromLabelsAndTeacherByDefault) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage("{ type = 'vanilla_kd' }", device);
    const std::vector<kd::Term> terms = stage.step();
    ASSERT_EQ(fakes::names(terms), fakes::Names({"cross_entropy", "kd"}));
    EXPECT_EQ(fakes::weights(terms), std::vector<double>({0.1, 0.9}));
    const at::Tensor student = stage.network.classifier.logits(stage.batch.images);
    const at::Tensor teacher = stage.teacher.classifier.logits(stage.batch.images);
    EXPECT_NEAR(terms[0].value.item<double>(), fakes::cross_entropy(student), 1e-5);
    EXPECT_NEAR(terms[1].value.item<double>(), soft_loss(student, teacher), 1e-4);
  }
}

/// 0.1 · (p − y)/B + 0.9 · T · (p_T − q_T)/B, times the images.
at::Tensor expected_gradient(const fakes::Stage& stage) {
  const at::Tensor student = stage.network.classifier.logits(stage.batch.images);
  const fakes::Rows p = fakes::probabilities(student, 1), soft = fakes::probabilities(student, kTemperature);
  const fakes::Rows q = fakes::probabilities(stage.teacher.classifier.logits(stage.batch.images), kTemperature);
  fakes::Rows by_logits = p;
  for (std::size_t i = 0; i < p.size(); ++i) {
    for (std::size_t c = 0; c < p[i].size(); ++c) {
      const double label = i % p[i].size() == c ? 1 : 0;
      by_logits[i][c] = (0.1 * (p[i][c] - label) + 0.9 * kTemperature * (soft[i][c] - q[i][c])) / fakes::kSamples;
    }
  }
  return fakes::weight_gradient(stage.batch.images, by_logits);
}

TEST(VanillaKd, SendsTheGradientToTheStudentOnly) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage("{ type = 'vanilla_kd' }", device);
    const std::vector<kd::Term> terms = stage.step();
    fakes::objective(terms).backward();
    const at::Tensor gradient = stage.network.classifier.weight.grad();
    ASSERT_TRUE(gradient.defined());
    EXPECT_LT(fakes::largest_difference(gradient.cpu().to(at::kDouble), expected_gradient(stage)), 1e-6);
    EXPECT_FALSE(stage.teacher.classifier.weight.grad().defined());
  }
}

TEST(VanillaKd, MakesOneUpdateOfTheStudentPerStep) {
  fakes::Stage stage("{ type = 'vanilla_kd' }");
  stage.step(0);
  stage.step(1);
  ASSERT_EQ(stage.updater.updates.size(), 2U);
  EXPECT_EQ(stage.updater.updates[1].first, &stage.network);
  ASSERT_EQ(stage.network.seen_images.size(), 2U);
  EXPECT_TRUE(stage.network.seen_images[1].is_same(stage.batch.images));
}

TEST(VanillaKd, AsksTheTeacherForTheBatchSoThatItsCacheServes) {
  fakes::Stage stage("{ type = 'vanilla_kd' }");
  stage.step();
  ASSERT_EQ(stage.teacher.seen_batches.size(), 1U);
  EXPECT_EQ(stage.teacher.seen_batches[0], &stage.batch);
  EXPECT_EQ(stage.teacher.forward_passes, 0);
}

TEST(VanillaKd, WantsOneStudentAndAnyNumberOfTeachers) {
  fakes::load_components();
  const kd::Roles roles = kd::registered_components().roles("scheme", "vanilla_kd");
  EXPECT_EQ(roles.fewest_networks, 1);
  EXPECT_EQ(roles.most_networks, 1);
  EXPECT_EQ(roles.fewest_teachers, 1);
  EXPECT_GT(roles.most_teachers, 1000);
}

TEST(VanillaKd, WeighsAndNamesItsLosses) {
  fakes::Stage stage(
      "{ type = 'vanilla_kd', losses = [{ type = 'kd', temperature = 2 }, { type = 'cross_entropy', weight = 0 }, "
      "{ type = 'kd', temperature = 8, weight = 0.5 }] }");
  const std::vector<kd::Term> terms = stage.step();
  EXPECT_EQ(fakes::names(terms), fakes::Names({"kd", "kd_2"}));
  EXPECT_EQ(fakes::weights(terms), std::vector<double>({1, 0.5}));
  EXPECT_NE(terms[0].value.item<double>(), terms[1].value.item<double>());
}

TEST(VanillaKd, FollowsTheScheduleOfAWeight) {
  fakes::Stage stage(
      "{ type = 'vanilla_kd', losses = [{ type = 'cross_entropy' }, "
      "{ type = 'kd', weight = { type = 'linear', from = 1, to = 0 } }] }");
  EXPECT_EQ(fakes::weights(stage.step(0)), std::vector<double>({1, 1}));
  EXPECT_EQ(fakes::weights(stage.step(5)), std::vector<double>({1, 0.75}));
  EXPECT_EQ(fakes::names(stage.step(20)), fakes::Names({"cross_entropy"}));
}

TEST(VanillaKd, GivesItsLossesWhatTheyNeed) {
  fakes::Stage stage("{ type = 'vanilla_kd', losses = [{ type = 'kd' }, { type = 'recorder' }] }");
  EXPECT_EQ(fakes::Recorder::context.classes, fakes::kClasses);
  EXPECT_EQ(fakes::Recorder::context.samples, fakes::kSamples);
  ASSERT_EQ(stage.required.size(), 1U);
  EXPECT_EQ(stage.required[0].first, &stage.network);
  EXPECT_TRUE(stage.required[0].second.teacher);
  EXPECT_EQ(stage.required[0].second.student_taps, kd::TapRequest({"stage1"}));
  EXPECT_EQ(stage.required[0].second.teacher_taps, kd::TapRequest({"stage2"}));
  stage.step(7);
  const fakes::Seen& seen = fakes::Recorder::seen;
  EXPECT_TRUE(seen.student_tap.is_same(seen.student_logits));
  EXPECT_TRUE(seen.student_logits.equal(stage.network.classifier.logits(stage.batch.images)));
  EXPECT_TRUE(seen.teacher_tap.is_same(seen.teacher_logits));
  EXPECT_TRUE(seen.teacher_logits.equal(stage.teacher.classifier.logits(stage.batch.images)));
  EXPECT_TRUE(seen.labels.is_same(stage.batch.targets.labels));
  EXPECT_TRUE(seen.index.is_same(stage.batch.index));
  EXPECT_EQ(seen.step, 7);
}

TEST(VanillaKd, TrainsTheAdaptersOfItsLosses) {
  fakes::Stage stage("{ type = 'vanilla_kd', losses = [{ type = 'kd' }, { type = 'recorder' }] }");
  ASSERT_EQ(stage.adapters.size(), 1U);
  EXPECT_EQ(stage.adapters[0].first, &stage.network);
  EXPECT_EQ(stage.adapters[0].second.module->name(), "adapter");
}

TEST(VanillaKd, TakesTheMeanOverTeachersByTheirWeights) {
  for (const at::Device& device : kd::testing::devices()) {
    fakes::Stage stage("{ type = 'vanilla_kd' }", device, {.networks = 1, .teacher_weights = {1, 0, 3}});
    const std::vector<kd::Term> terms = stage.step();
    ASSERT_EQ(fakes::names(terms), fakes::Names({"cross_entropy", "kd"}));
    EXPECT_EQ(fakes::weights(terms), std::vector<double>({0.1, 0.9}));
    const at::Tensor student = stage.network.classifier.logits(stage.batch.images);
    const auto loss = [&](std::size_t i) {
      return soft_loss(student, stage.all_teachers[i].classifier.logits(stage.batch.images));
    };
    EXPECT_NEAR(terms[0].value.item<double>(), fakes::cross_entropy(student), 1e-5);
    EXPECT_NEAR(terms[1].value.item<double>(), 0.25 * loss(0) + 0.75 * loss(2), 1e-4);
    EXPECT_EQ(stage.all_teachers[0].seen_batches.size(), 1U);
    EXPECT_EQ(stage.all_teachers[1].seen_batches.size(), 0U);
    EXPECT_EQ(stage.events, fakes::Events({"forward a", "update a"}));
  }
}

TEST(VanillaKd, KeepsAdaptersForEachTeacher) {
  fakes::Stage stage("{ type = 'vanilla_kd', losses = [{ type = 'cross_entropy' }, { type = 'recorder' }] }", at::kCPU,
                     {.networks = 1, .teacher_weights = {1, 1}});
  ASSERT_EQ(stage.adapters.size(), 2U);
  EXPECT_NE(stage.adapters[0].second.module, stage.adapters[1].second.module);
}

TEST(VanillaKd, RefusesTeachersWithoutAnyWeight) {
  const fakes::Cast cast{.networks = 1, .teacher_weights = {0, 0}};
  EXPECT_THROW(fakes::Stage("{ type = 'vanilla_kd' }", at::kCPU, cast), kd::RecipeError);
}

TEST(VanillaKd, MayShowTheTeacherUnmixedImages) {
  for (const bool mixed : {true, false}) {
    fakes::Stage stage("{ type = 'vanilla_kd', teacher_input = 'plain' }");
    if (mixed) stage.batch.plain_images = 255 - stage.batch.images;
    const std::vector<kd::Term> terms = stage.step();
    const at::Tensor shown = mixed ? stage.batch.plain_images : stage.batch.images;
    EXPECT_EQ(stage.teacher.forward_passes, mixed ? 1 : 0);
    EXPECT_EQ(stage.teacher.seen_batches.size(), mixed ? 0U : 1U);
    EXPECT_NEAR(terms[1].value.item<double>(),
                soft_loss(stage.network.classifier.logits(stage.batch.images), stage.teacher.classifier.logits(shown)),
                1e-4);
  }
  fakes::Stage same("{ type = 'vanilla_kd' }");
  same.batch.plain_images = 255 - same.batch.images;
  same.step();
  EXPECT_EQ(same.teacher.forward_passes, 0);
}

TEST(VanillaKd, LeavesTheTeacherFromTheStopEpochOn) {
  fakes::Stage stage("{ type = 'vanilla_kd', stop_epoch = 1.5 }");
  EXPECT_EQ(fakes::names(stage.step(14)), fakes::Names({"cross_entropy", "kd"}));
  EXPECT_EQ(fakes::names(stage.step(15)), fakes::Names({"cross_entropy"}));
  EXPECT_EQ(stage.teacher.seen_batches.size(), 1U);
  EXPECT_THROW(fakes::Stage("{ type = 'vanilla_kd', stop_epoch = 1, losses = [{ type = 'kd' }] }"), kd::RecipeError);
}

TEST(VanillaKd, PassesTaughtViewsWithTheBatchAndOthersBefore) {
  fakes::Stage stage(
      "{ type = 'vanilla_kd', losses = [{ type = 'cross_entropy' }, { type = 'jsd', views = ['more'] }, "
      "{ type = 'cs_kd' }, { type = 'kd', temperature = 4 }] }");
  const at::Tensor more = 255 - stage.batch.images, same_class = stage.batch.images.flip(0);
  stage.batch.extra_views = {{"same_class", same_class}, {"more", more}};
  const std::vector<kd::Term> terms = stage.step();
  EXPECT_EQ(stage.events, fakes::Events({"forward without gradient a", "forward a", "update a"}));
  EXPECT_TRUE(stage.network.seen_images[0].equal(same_class));
  EXPECT_TRUE(stage.network.seen_images[1].equal(at::cat({stage.batch.images, more})));
  ASSERT_EQ(fakes::names(terms), fakes::Names({"cross_entropy", "jsd", "cs_kd", "kd"}));
  const at::Tensor student = stage.network.classifier.logits(stage.batch.images);
  EXPECT_NEAR(terms[0].value.item<double>(), fakes::cross_entropy(student), 1e-5);
  EXPECT_NEAR(terms[3].value.item<double>(), soft_loss(student, stage.teacher.classifier.logits(stage.batch.images)),
              1e-4);
  stage.batch.extra_views.pop_back();
  EXPECT_THROW(stage.step(), kd::Error);
}

}  // namespace
